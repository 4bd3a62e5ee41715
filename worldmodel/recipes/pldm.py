"""PLDM: a world model whose latents are kept from collapsing by VICReg's terms and by the actions that they must tell.

Sobal, Zhang et al. 2025, "Learning from Reward-Free Offline Data: A Case for Planning with Latent Dynamics Models",
arXiv:2502.14819; terms and weights as in the authors' code (pldm/objectives/vicreg.py and idm.py, and the two-room
configurations in pldm/configs/wall/icml). The baseline that LeWorldModel is held against (arXiv:2603.19312).

Departures:
- encoder, predictor, optimiser and data are LeWorldModel's, so that only the losses differ: no impala encoder, no
  recurrent predictor, no LayerNorm on latents;
- each step is predicted from the true latents before it, not from predicted ones over 16 steps;
- variance and covariance are held at every frame of a clip, not at the first one only;
- clips are as long as LeWorldModel's, which the variance over time sees.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.clips import Windows
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.regularizers import covariance, smoothness, variance_hinge
from worldmodel.recipes.baseline_presets import baseline_presets
from worldmodel.recipes.joint_embedding import JointEmbedding, JointEmbeddingConfig


@dataclass(frozen=True, kw_only=True)
class PLDMConfig(JointEmbeddingConfig):
    """Weights of the authors' two-room runs; the prediction's is 1."""

    variance_weight: float = 3.9843
    covariance_weight: float = 6.9238
    time_variance_weight: float = 0.24535
    smoothness_weight: float = 0.74242
    inverse_weight: float = 1.072
    inverse_width: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, WIDEST, "inverse_width")
        require_range(self, 0, WIDEST, "variance_weight", "covariance_weight", "time_variance_weight")
        require_range(self, 0, WIDEST, "smoothness_weight", "inverse_weight")


PRESETS = baseline_presets(PLDMConfig, tiny={"inverse_width": 32})
tiny = PRESETS["tiny"]


class PLDM(JointEmbedding):
    """Encoder and predictor, and a head that tells the action between two frames, which only training uses."""

    config: PLDMConfig

    def __init__(self, config: PLDMConfig, action_width: int) -> None:
        super().__init__(config, action_width)
        self.config = config
        self.inverse = nn.Sequential(
            nn.Linear(2 * config.latent_width, config.inverse_width),
            nn.ReLU(),
            nn.Linear(config.inverse_width, action_width),
        )

    def losses(self, batch: Windows, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        """Six terms, weighted. Nothing in them is random."""
        config = self.config
        latents = self.encode_clips(batch)
        frames = latents.transpose(0, 1)  # [t b d]
        told = self.inverse(torch.cat([latents[:, :-1], latents[:, 1:]], dim=-1))
        return {
            "predict": self.prediction_error(latents, batch),
            "variance": config.variance_weight * variance_hinge(frames),
            "covariance": config.covariance_weight * covariance(frames),
            "time_variance": config.time_variance_weight * _variance_over_time(latents),
            "smoothness": config.smoothness_weight * smoothness(latents),
            "inverse": config.inverse_weight * F.mse_loss(told.float(), batch.actions),
        }


def _variance_over_time(latents: Float[Tensor, "b t d"]) -> Float[Tensor, ""]:
    """The hinge of `variance_hinge` within each clip: what a clip shows should move."""
    return F.relu(1 - (latents.float().var(dim=1) + 1e-4).sqrt()).mean()
