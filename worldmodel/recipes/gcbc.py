"""Goal-conditioned behaviour cloning: do what was done on the way to a goal that was reached. It plans nothing.

Hindsight goals from the same clip (Lynch et al. 2019, arXiv:1903.01973; Ghosh et al. 2019, arXiv:1912.06088). The
encoder learns from the actions alone. So that it is served and evaluated like a world model, a predictor learns beside
it on latents that it cannot change; the policy is the inverse dynamics that every training fits at its end, on these
latents and with goals further away, and acts through the preset `reactive`.

Departures: encoder, optimiser and data are LeWorldModel's; the mean squared error of one model step's actions instead
of a likelihood; goals are at most a clip away while the encoder learns.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.clips import Windows
from worldmodel.heads.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.recipes.baseline_presets import baseline_presets
from worldmodel.recipes.joint_embedding import JointEmbedding, JointEmbeddingConfig


@dataclass(frozen=True, kw_only=True)
class GCBCConfig(JointEmbeddingConfig):
    """The architecture, and the policy that the encoder learns with."""

    policy_width: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, WIDEST, "policy_width")


PRESETS = baseline_presets(GCBCConfig, tiny={"policy_width": 32})
tiny = PRESETS["tiny"]


class GCBC(JointEmbedding):
    """An encoder that knows what its actions need, and a predictor of its latents."""

    config: GCBCConfig

    def __init__(self, config: GCBCConfig, action_width: int) -> None:
        super().__init__(config, action_width)
        self.config = config
        self.policy = InverseDynamics(
            InverseDynamicsConfig(width=config.policy_width), config.latent_width, action_width
        )

    def losses(self, batch: Windows, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        """`clone`: from each frame to each later one of its clip. `predict` moves the predictor only."""
        latents = self.encode_clips(batch)
        frames = latents.shape[1]
        now, goal = torch.triu_indices(frames, frames, offset=1, device=latents.device)
        done = self.policy(latents[:, now].flatten(0, 1)[:, None], latents[:, goal].flatten(0, 1)[:, None])
        return {
            "clone": F.mse_loss(done.float(), batch.actions[:, now].flatten(0, 1)),
            "predict": self.prediction_error(latents.detach(), batch),
        }
