"""The MLP with BatchNorm that LeWorldModel puts behind its encoder and behind its predictor.

A ViT leaves through a LayerNorm, which fixes each sample's norm and so fights a Gaussian target; BatchNorm inside and
no norm at the end frees the geometry again (LeWorldModel, arXiv:2603.19312, section 3.1).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.parts.processes import average, process_count


def projector(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Features [rows width_in] to [rows width_out]."""
    return nn.Sequential(
        nn.Linear(width_in, hidden),
        BatchNorm(hidden),
        nn.GELU(),
        nn.Linear(hidden, width_out),
    )


class BatchNorm(nn.BatchNorm1d):
    """Statistics are of the batches of all training processes together; torch's SyncBatchNorm needs GPUs for that."""

    def forward(self, input: Float[Tensor, "rows w"]) -> Float[Tensor, "rows w"]:
        if not self.training or process_count() == 1:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):  # squares do not survive bfloat16
            rows = input.float()
            mean = average(rows.mean(0))
            centred = rows - mean
            variance = average(centred.square().mean(0))
            self._remember(mean.detach(), variance.detach(), len(rows) * process_count())
            normed = centred * torch.rsqrt(variance + self.eps)
            return (normed * self.weight + self.bias).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, rows: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None  # as torch's default has them
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * rows / (rows - 1), self.momentum)
