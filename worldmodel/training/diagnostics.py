"""Is the model good, and has it collapsed? Measured on held-out episodes, against controls."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.clips import Clips
from worldmodel.recipe import Encoder, Latents, WorldModel

OF_LATENTS = ("latent_std", "effective_rank")
OF_PREDICTIONS = ("predict_mse", "copy_mse", "shuffled_mse", "open_loop_mse", "copy_open_loop_mse")
HELD_OUT = (*OF_PREDICTIONS, *OF_LATENTS)
"""The names that `held_out_metrics` gives; every other metric of a training is one of its recipe's losses."""


def effective_rank(latents: Float[Tensor, "b d"]) -> float:
    """exp of the entropy of the normalised covariance spectrum (Roy and Vetterli 2007): d if white, 1 for a line."""
    spectrum = torch.linalg.svdvals(latents.double() - latents.double().mean(0)).square()
    weights = spectrum / spectrum.sum().clamp_min(1e-12)
    return float(torch.exp(-(weights * weights.clamp_min(1e-12).log()).sum()))


@torch.no_grad()
def held_out_metrics(
    module: nn.Module, encoder: Encoder, model: WorldModel | None, batches: list[Clips]
) -> dict[str, float]:
    """Prediction errors (mean squared, over latent channels; none without a world model) and collapse alarms.

    `predict_mse` from all frames before; `copy_mse` is the error of repeating the last frame; `shuffled_mse` is the
    model with another clip's actions; `open_loop_mse` imagines from the first frame to the last; `copy_open_loop_mse`
    repeats the first frame. `encoder` and `model` are those of `module`.
    """
    module.eval()
    sums: dict[str, float] = {}
    seen = []
    for batch in batches:
        latents = encoder.encode(batch.frames).tokens.unflatten(0, batch.shape)
        seen.append(latents.flatten(0, 1).flatten(1))
        for name, error in [] if model is None else _errors(model, latents, batch.actions):
            sums[name] = sums.get(name, 0.0) + float(error.square().mean()) / len(batches)
    module.train()
    stacked = torch.cat(seen)
    return {**sums, "latent_std": float(stacked.std(dim=0).mean()), "effective_rank": effective_rank(stacked)}


def _errors(model: WorldModel, latents: Float[Tensor, "b t n d"], actions: Tensor | None) -> list[tuple[str, Tensor]]:
    assert actions is not None  # a world model learns with actions
    begun = model.begin(Latents(latents[:, :1]), actions[:, :0])
    imagined = model.rollout(begun, actions[:, None])[:, 0, -1]
    shuffled = actions.roll(len(actions) // 2, dims=0)
    return [
        ("predict_mse", model.predictions(latents, actions) - latents[:, 1:]),
        ("copy_mse", latents[:, :-1] - latents[:, 1:]),
        ("shuffled_mse", model.predictions(latents, shuffled) - latents[:, 1:]),
        ("open_loop_mse", imagined - latents[:, -1]),
        ("copy_open_loop_mse", latents[:, 0] - latents[:, -1]),
    ]


def collapse_alarms(metrics: dict[str, int | float], latent_size: int) -> list[str]:
    """Signs of collapse in `held_out_metrics`, in words; empty when there is none. `latent_size` is that of a frame.

    Thresholds: SIGReg holds a healthy standard deviation at 1; a third of the size is the least rank that pays.
    """
    std, rank = metrics["latent_std"], metrics["effective_rank"]
    alarms = []
    if not 0.5 <= std <= 1.5:
        alarms.append(f"latent_std is {std:.3f}; wanted about 1: strengthen what keeps latents apart, or train longer")
    if rank < latent_size / 3:
        wanted = f"wanted over {latent_size / 3:.0f} of {latent_size}"
        alarms.append(f"effective_rank is {rank:.1f}; {wanted}: strengthen what keeps latents apart, or train longer")
    if "predict_mse" in metrics and metrics["predict_mse"] > 0.5 * metrics["copy_mse"]:
        predict, copy = metrics["predict_mse"], metrics["copy_mse"]
        alarms.append(f"predict_mse is {predict:.4f}, copy_mse {copy:.4f}; wanted under half of it: train longer")
    return alarms
