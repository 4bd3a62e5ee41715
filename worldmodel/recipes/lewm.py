"""LeWorldModel: a world model learned end to end from pixels with two losses.

Maes, Le Lidec et al. 2026, arXiv:2603.19312, and the authors' code. Predict the next latent (mean squared error) and
keep the latents Gaussian (SIGReg); gradients flow into both sides of the prediction, no teacher, no stop-gradient, no
decoder.

Departures:
- actions are scaled to [-1, 1] by the robot's limits instead of standardised by the dataset's statistics;
- preset `small`: two of PLDM's losses (arXiv:2502.14819) beside the two. Smoothness: latents one model step apart are
  to be near each other. Inverse dynamics: they are to tell the actions between them. Without smoothness, latents fold
  what moves most, such as an arm's pose, into every direction, and what rests goes missing, such as Cube's cube.
  Without inverse dynamics, what is small goes missing, such as PushT's disc;
- a third of PLDM's losses may be added (`rollout_weight`, 0 in every preset): the error of what is imagined from what
  was imagined before;
- twins may be learned from (`twin_weight`, 0 in every preset): the latent of a frame's twin, the same state drawn in
  another world, is to be the frame's. No other loss sees twins, so what is learned of dynamics stays;
- preset `small`: convolutional encoder, rotary positions instead of learned ones (so that keys and values can be kept),
  one normalisation before each modulation instead of two, no dropout, clips of 6 frames, 256 directions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from worldmodel.clips import Windows
from worldmodel.heads.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.encoders import ConvConfig
from worldmodel.parts.predictor import PredictorConfig
from worldmodel.parts.regularizers import sigreg, smoothness
from worldmodel.recipes.joint_embedding import JointEmbedding, JointEmbeddingConfig


@dataclass(frozen=True, kw_only=True)
class LeWMConfig(JointEmbeddingConfig):
    """Defaults are the published model."""

    sigreg_weight: float = 0.09
    sigreg_directions: int = 1024
    smoothness_weight: float = 0.0
    inverse_weight: float = 0.0
    inverse_width: int = 256
    rollout_weight: float = 0.0
    twin_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, 1, WIDEST, "sigreg_directions", "inverse_width")
        require_range(self, 0, WIDEST, "sigreg_weight", "smoothness_weight", "inverse_weight", "rollout_weight")
        require_range(self, 0, WIDEST, "twin_weight")
        if self.rollout_weight and self.clip_frames < 3:
            raise ValueError(f"rollout_weight={self.rollout_weight} wants clip_frames of 3 at least, not 2")

    @property
    def wants_twins(self) -> bool:
        """Where the loss on them has a weight."""
        return self.twin_weight > 0


def paper() -> LeWMConfig:
    """The published architecture. Train it on a GPU."""
    return LeWMConfig()


def small() -> LeWMConfig:
    """Trains on two CPU cores in under an hour and plans in tens of milliseconds."""
    return LeWMConfig(
        image_px=64,
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        latent_width=64,
        clip_frames=6,
        encoder=ConvConfig(),
        projector_width=512,
        predictor=PredictorConfig(
            width=128,
            depth=3,
            heads=2,
            mlp_width=512,
            projector_width=512,
            action_bottleneck=32,
            dropout=0.0,
            positions="rotary",
            window=6,
            double_norm=False,
        ),
        sigreg_weight=0.1,
        sigreg_directions=256,
        smoothness_weight=0.1,
        inverse_weight=0.5,
    )


def tiny() -> LeWMConfig:
    """For tests: learns next to nothing, in milliseconds."""
    return LeWMConfig(
        image_px=32,
        pixel_mean=(0.5, 0.5, 0.5),
        pixel_std=(0.5, 0.5, 0.5),
        latent_width=16,
        clip_frames=4,
        encoder=ConvConfig(channels=(8, 16), kernels=(4, 3), strides=(4, 2), groups=4),
        projector_width=32,
        predictor=PredictorConfig(
            width=32,
            depth=2,
            heads=2,
            head_width=16,
            mlp_width=64,
            projector_width=32,
            action_bottleneck=8,
            dropout=0.0,
            positions="rotary",
            window=4,
            double_norm=False,
        ),
        sigreg_directions=32,
        smoothness_weight=0.1,
        inverse_weight=0.5,
        inverse_width=32,
    )


PRESETS = {"paper": paper, "small": small, "tiny": tiny}


class LeWM(JointEmbedding):
    """Encoder and predictor with their losses."""

    config: LeWMConfig

    def __init__(self, config: LeWMConfig, action_width: int) -> None:
        super().__init__(config, action_width)
        self.config = config
        if config.inverse_weight:  # only training uses it
            head = InverseDynamicsConfig(width=config.inverse_width)
            self.inverse = InverseDynamics(head, config.latent_width, action_width)

    def losses(self, batch: Windows, generator: Generator) -> dict[str, Float[Tensor, ""]]:
        """`predict`: mean squared error of the next latent. `sigreg`: over the batch of each time step. `smoothness`:
        mean squared change from one latent to the next. `inverse`: mean squared error of the actions. `rollout`: mean
        squared error of latents imagined 2, 3, ... steps ahead. `twin`: mean squared error of twins' latents. All
        weighted.
        """
        config, (latents, twins) = self.config, self._encode(batch)
        furthest = batch.actions.shape[1] if config.rollout_weight else 1
        error, *further = self.prediction_errors(latents, batch, furthest)
        regular = sigreg(latents.transpose(0, 1), config.sigreg_directions, generator)
        terms = {"predict": error, "sigreg": config.sigreg_weight * regular}
        if config.smoothness_weight:
            terms["smoothness"] = config.smoothness_weight * smoothness(latents)
        if config.inverse_weight:
            terms["inverse"] = config.inverse_weight * self._inverse_error(latents, batch)
        if config.rollout_weight:
            terms["rollout"] = config.rollout_weight * torch.stack(further).mean()
        if twins is not None:
            terms["twin"] = config.twin_weight * F.mse_loss(twins, latents.detach())
        return terms

    def _encode(self, batch: Windows) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d"] | None]:
        """Latents of the frames, and of their twins: in one pass, so that BatchNorm sees the same mixture of both that
        it keeps statistics of."""
        if batch.twins is None:
            return self.encode_clips(batch), None
        both = self.encode(torch.cat([batch.frames, batch.twins]).flatten(0, 1))
        latents, twins = both.unflatten(0, (-1, batch.frames.shape[1])).chunk(2)
        return latents, twins

    def _inverse_error(self, latents: Float[Tensor, "b t d"], batch: Windows) -> Float[Tensor, ""]:
        before, after = (part.flatten(0, 1)[:, None] for part in (latents[:, :-1], latents[:, 1:]))
        return F.mse_loss(self.inverse(before, after).float(), batch.actions.flatten(0, 1))
