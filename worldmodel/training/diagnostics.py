"""Is the model good, and has it collapsed? Measured on held-out episodes, against controls."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch
from worldmodel.recipe import Encoder, Latents, WorldModel

OF_LATENTS = ("latent_std", "effective_rank")
OF_PREDICTIONS = ("predict_mse", "copy_mse", "shuffled_mse", "open_loop_mse", "copy_open_loop_mse")
SHARES = {"std_share": 0.3, "rank_share": 0.3, "cosine_gap_share": 0.1}
"""Figures of `spread_shares`, and the least that raises no alarm. On Cube's frames a small `ijepa` has 0.77, 0.64 and
0.26 after 200 steps, a `vjepa2` 0.91, 0.80 and 0.87 after 90, and one without target encoder, stop-gradient and target
norm 0.07, 0.10 and 0.01."""
OF_SPREAD = ("rank_me", "pairwise_cosine", *SHARES)
HELD_OUT = (*OF_PREDICTIONS, *OF_LATENTS, *OF_SPREAD)
"""The names that `held_out_metrics`, `spread_metrics` and `spread_shares` give; every other metric of a training is one
of its recipe's losses."""
TOKENS_COMPARED = 2048


def effective_rank(latents: Float[Tensor, "b d"]) -> float:
    """exp of the entropy of the normalised covariance spectrum (Roy and Vetterli 2007): d if white, 1 for a line."""
    spectrum = torch.linalg.svdvals(latents.double() - latents.double().mean(0)).square()
    weights = spectrum / spectrum.sum().clamp_min(1e-12)
    return float(torch.exp(-(weights * weights.clamp_min(1e-12).log()).sum()))


def rank_me(features: Float[Tensor, "b d"]) -> float:
    """exp of the entropy of the normalised singular values (Garrido et al. 2023, arXiv:2210.02885, equation 1)."""
    values = torch.linalg.svdvals(features.double())
    weights = values / values.sum().clamp_min(1e-12)
    return float(torch.exp(-(weights * weights.clamp_min(1e-12).log()).sum()))


def pairwise_cosine(features: Float[Tensor, "b d"]) -> float:
    """Mean cosine between different rows: 1 where all point the same way, 0 where they share no direction."""
    unit = F.normalize(features.double(), dim=-1)
    rows = len(unit)
    return float((unit.sum(0).square().sum() - unit.square().sum()) / (rows * (rows - 1)))


@torch.no_grad()
def spread_metrics(module: nn.Module, encoder: Encoder, batches: list[Clips]) -> dict[str, float]:
    """How far apart latents are: of encoders that learn alone, whose latents have no scale of their own.

    Looks at the first frame of each clip. `latent_std` is that of each channel of each learned token over the frames,
    so what depends on a token's place alone does not count. The other two compare random learned tokens of any frame
    and place: of one camera's frames, means over all tokens hardly differ even at random weights. `encoder` is that of
    `module`.
    """
    module.eval()
    frames = [ObservationBatch({name: values[:, 0] for name, values in batch.sensors.items()}) for batch in batches]
    latents = torch.cat([encoder.encode(each).tokens[:, encoder.learned] for each in frames]).float()
    module.train()
    tokens = latents.flatten(0, 1)
    some = tokens[torch.randperm(len(tokens), generator=Generator().manual_seed(0))[:TOKENS_COMPARED]]
    return {
        "latent_std": float(latents.std(dim=0).mean()),
        "rank_me": rank_me(some),
        "pairwise_cosine": pairwise_cosine(some),
    }


@torch.no_grad()
def held_out_metrics(
    module: nn.Module, encoder: Encoder, model: WorldModel | None, batches: list[Clips]
) -> dict[str, float]:
    """Prediction errors (mean squared, over latent channels; none without a world model) and collapse alarms.

    `predict_mse` from all frames before; `copy_mse` is the error of repeating the last frame; `shuffled_mse` is the
    model with another clip's actions; `open_loop_mse` imagines from the first frame to the last; `copy_open_loop_mse`
    repeats the first frame. The alarms look at the learned tokens. `encoder` and `model` are those of `module`.
    """
    module.eval()
    sums: dict[str, float] = {}
    seen = []
    for batch in batches:
        latents = encoder.encode(batch.frames).tokens.unflatten(0, batch.shape)
        seen.append(latents[:, :, encoder.learned].flatten(0, 1).flatten(1))
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
    """Each sign of collapse in `held_out_metrics`, in words. `latent_size` is that of a frame's learned tokens.

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


def spread_shares(metrics: dict[str, float], untrained: dict[str, float]) -> dict[str, float]:
    """`spread_metrics` as shares of those at random weights; `cosine_gap_share` is that of 1 less the cosine."""
    return {
        "std_share": metrics["latent_std"] / untrained["latent_std"],
        "rank_share": metrics["rank_me"] / untrained["rank_me"],
        "cosine_gap_share": (1 - metrics["pairwise_cosine"]) / (1 - untrained["pairwise_cosine"]),
    }


def spread_alarms(metrics: dict[str, int | float]) -> list[str]:
    """Each sign of collapse in `spread_shares`, in words.

    No sign is enough alone: a tiny cloud can have full rank, and a line any standard deviation.
    """
    return [
        f"{name} is {metrics[name]:.3f}; wanted {least} of random weights' at least: raise the momentum, lower the "
        "learning rate, or hide more"
        for name, least in SHARES.items()
        if metrics[name] < least
    ]
