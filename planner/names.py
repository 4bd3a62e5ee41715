"""Names that a request picks from. Without torch, so that what only reads requests need not import it."""

from typing import Literal

AlgorithmName = Literal["cem", "icem", "mppi", "predictive_sampling", "gradient_descent"]
ProposalUse = Literal["none", "first", "only"]
SearchSpaceName = Literal["constant", "free", "linear_spline", "cubic_spline"]
