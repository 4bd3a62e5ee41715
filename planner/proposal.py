"""What a search tries first: a proposal followed in imagination, from where the robot is towards its goal."""

import torch
from jaxtyping import Float
from torch import Tensor

from planner.protocols import Proposal, RolloutState, WorldModel


def follow(
    proposal: Proposal,
    model: WorldModel,
    state: RolloutState,
    latents: Float[Tensor, "b n d"],
    goal: Float[Tensor, "b n d"],
    horizon: int,
) -> Float[Tensor, "b h a"]:
    """Propose a model step, imagine it, propose the next one from there. `latents` are of the newest frame."""
    actions = proposal(latents, goal)[:, None, None]  # [b 1 h a]
    for _ in range(horizon - 1):
        imagined = model.rollout(state, actions)[:, 0, -1]
        actions = torch.cat([actions, proposal(imagined, goal)[:, None, None]], dim=2)
    return actions.squeeze(1)
