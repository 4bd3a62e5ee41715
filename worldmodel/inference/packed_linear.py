"""A Linear layer for inference: weights laid out once for the machine's matrix units, GELU in the same pass.

On a CPU, PyTorch computes float32 products with MKL, which leaves half of an AMD processor unused. oneDNN, which comes
with PyTorch too, generates code for the processor's instructions (AVX-512, AVX512-BF16, AMX) and keeps the weights in
the order in which it reads them. The fused operations used here are those that `torch.compile` emits. Other devices,
and data types that oneDNN lacks, use F.linear.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Activation = Literal["none", "gelu"]

ROWS = 300
"""Rows that the packed layout is optimised for: one robot's candidates. Other numbers work as well."""


class PackedLinear:
    """activation(x W^T + b) in one data type, on the device of `weight`."""

    def __init__(
        self,
        weight: Float[Tensor, "o i"],
        bias: Float[Tensor, " o"],
        dtype: torch.dtype,
        activation: Activation = "none",
    ) -> None:
        self.bias = bias.to(dtype)
        self.activation: Activation = activation
        self.packed = has_onednn(weight.device, dtype)
        plain = weight.to(dtype).contiguous()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(plain, ROWS) if self.packed else plain

    def __call__(self, rows: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        rows = rows.to(self.bias.dtype)
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, self.activation, [], "none")
        product = F.linear(rows, self.weight, self.bias)
        return F.gelu(product) if self.activation == "gelu" else product


def has_onednn(device: torch.device, dtype: torch.dtype) -> bool:
    """True where this build of PyTorch packs weights of `dtype` for `device`."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
