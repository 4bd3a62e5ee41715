"""Is the model good, and has it collapsed? Measured on held-out episodes, against controls."""

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.clips import Windows
from worldmodel.recipes.joint_embedding import JointEmbedding

HELD_OUT = (
    "predict_mse",
    "copy_mse",
    "shuffled_mse",
    "open_loop_mse",
    "copy_open_loop_mse",
    "latent_std",
    "effective_rank",
)
"""What `held_out_metrics` tells; every other metric of a training is one of its recipe's losses."""


def effective_rank(latents: Float[Tensor, "b d"]) -> float:
    """exp of the entropy of the normalised covariance spectrum (Roy and Vetterli 2007): d if white, 1 for a line."""
    spectrum = torch.linalg.svdvals(latents.double() - latents.double().mean(0)).square()
    weights = spectrum / spectrum.sum().clamp_min(1e-12)
    return float(torch.exp(-(weights * weights.clamp_min(1e-12).log()).sum()))


@torch.no_grad()
def held_out_metrics(recipe: JointEmbedding, batches: list[Windows]) -> dict[str, float]:
    """Prediction errors (mean squared, over latent channels) and collapse alarms.

    `predict_mse` from all frames before; `copy_mse` is what repeating the last frame gives; `shuffled_mse` is the model
    with another clip's actions; `open_loop_mse` imagines from the first frame to the last; `copy_open_loop_mse` repeats
    the first frame.
    """
    recipe.eval()
    sums: dict[str, float] = {}
    latents = []
    for batch in batches:
        clips, steps = batch.frames.shape[:2]
        z = recipe.encode(batch.frames.flatten(0, 1)).unflatten(0, (clips, steps))
        latents.append(z.flatten(0, 1))
        imagined = z[:, :1]
        for end in range(1, steps):
            newest = slice(max(0, end - recipe.config.predictor.window), end)
            imagined = torch.cat([imagined, recipe.predictor(imagined[:, newest], batch.actions[:, newest])[:, -1:]], 1)
        errors = {
            "predict_mse": recipe.predictor(z[:, :-1], batch.actions) - z[:, 1:],
            "copy_mse": z[:, :-1] - z[:, 1:],
            "shuffled_mse": recipe.predictor(z[:, :-1], batch.actions.roll(clips // 2, dims=0)) - z[:, 1:],
            "open_loop_mse": imagined[:, -1] - z[:, -1],
            "copy_open_loop_mse": z[:, 0] - z[:, -1],
        }
        for name, error in errors.items():
            sums[name] = sums.get(name, 0.0) + float(error.square().mean()) / len(batches)
    recipe.train()
    stacked = torch.cat(latents)
    return {
        **sums,
        "latent_std": float(stacked.std(dim=0).mean()),
        "effective_rank": effective_rank(stacked),
    }


def collapse_alarms(metrics: dict[str, int | float], latent_width: int) -> list[str]:
    """What in `held_out_metrics` looks like collapse, in words; empty when nothing does.

    Thresholds: SIGReg holds a healthy standard deviation at 1; a third of the width is the least rank that pays.
    """
    std, rank, predict, copy = (metrics[k] for k in ("latent_std", "effective_rank", "predict_mse", "copy_mse"))
    alarms = []
    if not 0.5 <= std <= 1.5:
        alarms.append(f"latent_std is {std:.3f}; wanted about 1: strengthen what keeps latents apart, or train longer")
    if rank < latent_width / 3:
        wanted = f"wanted over {latent_width / 3:.0f} of {latent_width}"
        alarms.append(f"effective_rank is {rank:.1f}; {wanted}: strengthen what keeps latents apart, or train longer")
    if predict > 0.5 * copy:
        alarms.append(f"predict_mse is {predict:.4f}, copy_mse {copy:.4f}; wanted under half of it: train longer")
    return alarms
