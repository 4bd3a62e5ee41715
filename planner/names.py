"""Names that a request picks from. This module does not import torch, so that reading a request need not."""

from typing import Literal

SearchAlgorithmName = Literal["cem", "icem", "mppi", "predictive_sampling", "gradient_descent"]
AlgorithmName = Literal[SearchAlgorithmName, "policy"]
"""Algorithm of a plan: a search, or the model's policy without one."""
SearchSpaceName = Literal["constant", "free", "linear_spline", "cubic_spline"]
