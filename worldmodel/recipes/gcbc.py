"""Goal-conditioned behaviour cloning: repeats the actions that led to such a goal in the data. It does not plan.

Hindsight goals from the same clip (Lynch et al. 2019, arXiv:1903.01973; Ghosh et al. 2019, arXiv:1912.06088). The
encoder learns from the actions alone; there is no predictor, so the service answers without imagining anything.

Departures: encoder, optimiser and data are LeWorldModel's; the mean squared error of one model step's actions instead
of a likelihood; goals are at most a clip away.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldmodel.clips import Clips
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.frames import FrameConfig, FrameEncoder
from worldmodel.parts.mlp import InverseModel
from worldmodel.recipe import Body, Entry, Step
from worldmodel.recipes.network import presets


@dataclass(frozen=True, kw_only=True)
class GCBCConfig(FrameConfig):
    """The encoder, and the policy that it learns with."""

    policy_width: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, WIDEST, "policy_width")


class GCBC(FrameEncoder):
    """The encoder, and the policy over its latents, which it learns with."""

    def __init__(self, config: GCBCConfig, body: Body) -> None:
        super().__init__(config, body.sensors)
        self.config = config
        self.policy = InverseModel(len(body.sensors) * config.latent_width, config.policy_width, body.action_width)

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """`clone`: mean squared error of the actions from each frame to each later one of its clip."""
        assert batch.actions is not None
        latents = self.tokens(batch.frames).unflatten(0, batch.shape).flatten(2)
        now, goal = torch.triu_indices(latents.shape[1], latents.shape[1], offset=1, device=latents.device)
        cloned = self.policy(latents[:, now], latents[:, goal])
        return {"clone": F.mse_loss(cloned.float(), batch.actions[:, now])}


@dataclass(frozen=True)
class ClonedPolicy:
    """One model step's actions from the newest frame towards the goal."""

    module: GCBC

    def __call__(self, context: Float[Tensor, "b t n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b 1 a"]:
        return self.module.policy(context[:, -1].flatten(1), goal.flatten(1))[:, None]


PRESETS = presets(GCBCConfig, policy_width=32)
ENTRY = Entry(config=GCBCConfig, module=GCBC, presets=PRESETS, encoder=lambda module: module, policy=ClonedPolicy)
