"""What a frozen world model imagines along episodes that it was shown: the latents that its planner will ask about."""

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.data.latent_episodes import LatentEpisodes, StandIns, actions_between
from worldmodel.inference.world_model import LatentWorldModel

CLIPS_AT_A_TIME = 2048


@torch.inference_mode()
def imagine_along(
    world_model: LatentWorldModel,
    data: LatentEpisodes,
    actions: Float[Tensor, "rows x"],
    *,
    clips: int,
    context: int,
    horizon: int,
    control_steps: int,
    generator: Generator,
) -> StandIns | None:
    """After `context` frames of each of at most `clips` random clips, the `horizon` model steps that followed.

    `actions` are unitless, row by row what was done after each latent. None where all episodes are too short.
    """
    frames = context + horizon
    starts = data.starts(frames, control_steps)
    if len(starts) == 0:
        return None
    chosen = starts[torch.randperm(len(starts), generator=generator)[:clips]]
    latents = []
    for part in chosen.split(CLIPS_AT_A_TIME):
        seen = data.clips(part, context, control_steps)
        past, future = actions_between(actions, part, frames, control_steps).split([context - 1, horizon], dim=1)
        state = world_model.begin(seen.unsqueeze(2), past)
        latents.append(world_model.rollout(state, future.unsqueeze(1))[:, 0, :, 0].flatten(0, 1))
    steps = control_steps * torch.arange(context, frames, device=data.device)
    return StandIns(torch.cat(latents).clone(), (chosen[:, None] + steps).flatten())
