"""The MLP with BatchNorm that LeWorldModel puts behind its encoder and behind its predictor.

A ViT leaves through a LayerNorm, which fixes each sample's norm and so fights a Gaussian target; BatchNorm inside and
no norm at the end frees the geometry again (LeWorldModel, arXiv:2603.19312, section 3.1).
"""

from torch import nn


def projector(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Features [rows width_in] to [rows width_out]."""
    return nn.Sequential(
        nn.Linear(width_in, hidden),
        nn.BatchNorm1d(hidden),
        nn.GELU(),
        nn.Linear(hidden, width_out),
    )
