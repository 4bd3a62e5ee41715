"""The plain rollout, the reference for the fast one."""

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.parts.predictor import Predictor


def naive_rollout(
    predictor: Predictor,
    context: Float[Tensor, "b t d"],
    past_actions: Float[Tensor, "b t-1 a"],
    actions: Float[Tensor, "b s h a"],
) -> Float[Tensor, "b s h d"]:
    """One full pass over the sequence for each imagined step, as the published planners do."""
    robots, candidates, horizon, _ = actions.shape
    latents = _per_candidate(context, candidates)  # [b*s t d]
    past = _per_candidate(past_actions, candidates)
    future = actions.flatten(0, 1)
    reach = predictor.config.window if predictor.config.positions == "learned" else None
    for step in range(horizon):
        taken = torch.cat([past, future[:, : step + 1]], dim=1)
        seen, taken = (latents, taken) if reach is None else (latents[:, -reach:], taken[:, -reach:])
        latents = torch.cat([latents, predictor(seen, taken)[:, -1:]], dim=1)
    return latents[:, -horizon:].unflatten(0, (robots, candidates))


def _per_candidate(tensor: Float[Tensor, "b t x"], candidates: int) -> Float[Tensor, "c t x"]:
    """Repeat each robot's rows for each of its candidates."""
    return tensor.repeat_interleave(candidates, dim=0)
