"""Warm starts: begin the next search where the last plan still holds."""

import torch
from jaxtyping import Float
from torch import Tensor


def shift(variables: Float[Tensor, "h v"], executed_steps: int) -> Float[Tensor, "h v"]:
    """Drop the model steps that were executed and repeat the last one; a plan that has run out leaves its last step."""
    if executed_steps < 0:
        raise ValueError(f"executed_steps={executed_steps} must not be negative")
    kept = variables[min(executed_steps, len(variables) - 1) :]
    return torch.cat([kept, kept[-1:].expand(len(variables) - len(kept), -1)])
