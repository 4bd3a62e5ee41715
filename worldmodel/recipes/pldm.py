"""PLDM: a world model whose latents are kept from collapsing by VICReg's terms and by inverse dynamics.

Sobal, Zhang et al. 2025, "Learning from Reward-Free Offline Data: A Case for Planning with Latent Dynamics Models",
arXiv:2502.14819; terms and weights as in the authors' code (pldm/objectives/vicreg.py and idm.py, and the two-room
configurations in pldm/configs/wall/icml). LeWorldModel's main baseline (arXiv:2603.19312).

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
from torch import Tensor, nn

from worldmodel.clips import Clips
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.frames import FrameEncoder
from worldmodel.parts.predictor import prediction_errors
from worldmodel.parts.regularizers import covariance, smoothness, variance_hinge
from worldmodel.recipe import Body, Entry, Step
from worldmodel.recipes.network import NetworkConfig, imagining, make_predictor, presets


@dataclass(frozen=True, kw_only=True)
class PLDMConfig(NetworkConfig):
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


class PLDM(FrameEncoder):
    """Encoder and predictor, and a head that reads the action between two frames, which only training uses."""

    def __init__(self, config: PLDMConfig, body: Body) -> None:
        super().__init__(config, body.sensors)
        self.config = config
        self.predictor = make_predictor(config, len(body.sensors), body.action_width)
        self.inverse = nn.Sequential(
            nn.Linear(2 * len(body.sensors) * config.latent_width, config.inverse_width),
            nn.ReLU(),
            nn.Linear(config.inverse_width, body.action_width),
        )

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Six terms, weighted. Nothing in them is random."""
        config = self.config
        assert batch.actions is not None
        latents = self.tokens(batch.frames).unflatten(0, batch.shape)  # [b t n d]
        flat, learned = latents.flatten(2), latents[:, :, self.learned]
        by_frame = learned.permute(1, 2, 0, 3)
        between = self.inverse(torch.cat([flat[:, :-1], flat[:, 1:]], dim=-1))
        return {
            "predict": prediction_errors(self.predictor, flat, batch.actions)[0],
            "variance": config.variance_weight * variance_hinge(by_frame),
            "covariance": config.covariance_weight * covariance(by_frame),
            "time_variance": config.time_variance_weight * _variance_over_time(learned),
            "smoothness": config.smoothness_weight * smoothness(learned),
            "inverse": config.inverse_weight * F.mse_loss(between.float(), batch.actions),
        }


def _variance_over_time(latents: Float[Tensor, "b t n d"]) -> Float[Tensor, ""]:
    """The hinge of `variance_hinge` within each clip: latents should vary over its frames."""
    return F.relu(1 - (latents.float().var(dim=1) + 1e-4).sqrt()).mean()


PRESETS = presets(PLDMConfig, inverse_width=32)
ENTRY = Entry(config=PLDMConfig, module=PLDM, presets=PRESETS, encoder=lambda module: module, world_model=imagining)
