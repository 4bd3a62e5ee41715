"""Folding: layers that are constant after training are multiplied into the Linear beside them, once.

Exact up to rounding. The stored checkpoint keeps the trained form.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.inference.packed_linear import PackedLinear

Affine = tuple[Tensor, Tensor]
"""Weight [o i] and bias [o]."""


def affine(layer: nn.Module) -> Affine:
    """Weight and bias of a Linear; a bias of zeros when it has none."""
    linear = cast(nn.Linear, layer)
    bias = linear.bias if linear.bias is not None else linear.weight.new_zeros(linear.out_features)
    return linear.weight.detach(), bias.detach()


def after_norm(norm: nn.Module, layer: nn.Module) -> Affine:
    """The Linear that gives the same behind a plain LayerNorm as `layer` behind the affine `norm`.

    An Identity changes nothing.
    """
    weight, bias = affine(layer)
    if isinstance(norm, nn.Identity):
        return weight, bias
    norm = cast(nn.LayerNorm, norm)
    return weight * norm.weight.detach(), bias + weight @ norm.bias.detach()


def before_batch_norm(layer: Affine, norm: nn.Module) -> Affine:
    """A Linear and the evaluation-mode BatchNorm behind it, as one Linear."""
    weight, bias = layer
    norm = cast(nn.BatchNorm1d, norm)
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    scale = norm.weight.detach() / torch.sqrt(variance + norm.eps)
    return weight * scale[:, None], (bias - mean) * scale + norm.bias.detach()


class FoldedProjector:
    """worldmodel.parts.projector.projector in evaluation mode as two Linears, behind an optional affine LayerNorm."""

    def __init__(self, projector: nn.Sequential, dtype: torch.dtype, norm: nn.Module | None = None) -> None:
        first = after_norm(norm or nn.Identity(), projector[0])
        self.hidden = PackedLinear(*before_batch_norm(first, projector[1]), dtype, "gelu")
        self.out = PackedLinear(*affine(projector[3]), dtype)

    def __call__(self, features: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        return self.out(self.hidden(features))
