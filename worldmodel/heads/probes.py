"""Linear probes: ridge regressions of recorded features from latents."""

import torch
from jaxtyping import Float
from torch import Tensor


def probe_r2(
    train_x: Float[Tensor, "b d"],
    train_y: Float[Tensor, "b f"],
    test_x: Float[Tensor, "c d"],
    test_y: Float[Tensor, "c f"],
    ridge: float = 1e-3,
) -> Float[Tensor, " f"]:
    """Coefficient of determination, on the test rows, of a ridge regression fitted on the training rows.

    Split the rows by episode, never by frame. A probe alone never proves the absence of collapse, since it rescales.
    A feature that does not vary scores 0: there is nothing to explain.
    """
    mean, scale = train_x.double().mean(0), train_x.double().std(0).clamp_min(1e-9)
    x, x_test = (_with_bias((part.double() - mean) / scale) for part in (train_x, test_x))
    gram = x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.T @ train_y.double() / len(x))
    residual = (test_y - x_test @ weights).square().sum(0)
    total = (test_y - test_y.mean(0)).double().square().sum(0)
    return torch.where(total > 0, 1 - residual / total, 0)


def _with_bias(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
