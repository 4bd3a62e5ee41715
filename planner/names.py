"""Names that a request picks from. Without torch, so that what only reads requests need not import it."""

from typing import Literal

SearchAlgorithmName = Literal["cem", "icem", "mppi", "predictive_sampling", "gradient_descent"]
AlgorithmName = Literal[SearchAlgorithmName, "policy"]
"""How a plan is made: by a search, or by the model's policy without one."""
SearchSpaceName = Literal["constant", "free", "linear_spline", "cubic_spline"]
