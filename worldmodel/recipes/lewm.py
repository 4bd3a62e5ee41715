"""LeWorldModel: a world model learned end to end from pixels with two losses.

Maes, Le Lidec et al. 2026, arXiv:2603.19312, and the authors' code. Predict the next latent (mean squared error) and
keep the latents Gaussian (SIGReg); gradients flow into both sides of the prediction: no target encoder, no
stop-gradient, no decoder.

Departures:
- actions are scaled to [-1, 1] by the robot's limits instead of standardised by the dataset's statistics;
- preset `small`: two of PLDM's losses (arXiv:2502.14819) beside the two. Smoothness: latents one model step apart are
  to be near each other. Inverse dynamics: the actions between them are to be readable from them. Without smoothness,
  the part that moves most, such as an arm, fills every direction of the latents, and things at rest, such as Cube's
  cube, are lost. Without inverse dynamics, small things are lost, such as PushT's disc;
- a third of PLDM's losses may be added (`rollout_weight`, 0 in every preset): the error of latents that are imagined
  from imagined latents;
- several sensors: each camera has an encoder of its own and gives one token, a vector becomes a token unlearned; SIGReg
  and smoothness hold each camera's token, the predictor reads all tokens of a frame side by side;
- twins may be learned from (`twin_weight`, 0 in every preset): the latent of a frame's twin, the same state drawn in
  another world, is to be the frame's. No other loss sees twins, so they do not change how dynamics are learned;
- preset `small`: convolutional encoder, rotary positions instead of learned ones (so that keys and values can be kept),
  one normalisation before each modulation instead of two, no dropout, clips of 6 frames, 256 directions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch
from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.frames import FrameEncoder
from worldmodel.parts.mlp import InverseModel
from worldmodel.parts.predictor import prediction_errors
from worldmodel.parts.regularizers import sigreg, smoothness
from worldmodel.recipe import Body, Entry, Step
from worldmodel.recipes.network import SMALL, TINY, NetworkConfig, imagining, make_predictor


@dataclass(frozen=True, kw_only=True)
class LeWMConfig(NetworkConfig):
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
        """True where the loss on twins has a weight."""
        return self.twin_weight > 0


def paper() -> LeWMConfig:
    """The published architecture. Train it on a GPU."""
    return LeWMConfig()


def small() -> LeWMConfig:
    """Trains on two CPU cores in under an hour and plans in tens of milliseconds."""
    return LeWMConfig(**SMALL, sigreg_weight=0.1, sigreg_directions=256, smoothness_weight=0.1, inverse_weight=0.5)


def tiny() -> LeWMConfig:
    """For tests: learns next to nothing, in milliseconds."""
    return LeWMConfig(**TINY, sigreg_directions=32, smoothness_weight=0.1, inverse_weight=0.5, inverse_width=32)


class LeWM(FrameEncoder):
    """Encoder and predictor with their losses."""

    def __init__(self, config: LeWMConfig, body: Body) -> None:
        super().__init__(config, body.sensors)
        self.config = config
        self.predictor = make_predictor(config, len(body.sensors), body.action_width)
        if config.inverse_weight:  # only training uses it
            self.inverse = InverseModel(
                len(body.sensors) * config.latent_width, config.inverse_width, body.action_width
            )

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """`predict`: mean squared error of the next latent. `sigreg`: over the batch of each time step. `smoothness`:
        mean squared change from one latent to the next. `inverse`: mean squared error of the actions. `rollout`: mean
        squared error of latents imagined 2, 3, ... steps ahead. `twin`: mean squared error of twins' latents. All
        weighted.
        """
        config, (latents, twins) = self.config, self._encode_clips(batch)
        assert batch.actions is not None
        flat, learned = latents.flatten(2), latents[:, :, self.learned]
        furthest = batch.actions.shape[1] if config.rollout_weight else 1
        error, *further = prediction_errors(self.predictor, flat, batch.actions, furthest)
        regular = sigreg(learned.permute(1, 2, 0, 3), config.sigreg_directions, step.generator)
        terms = {"predict": error, "sigreg": config.sigreg_weight * regular}
        if config.smoothness_weight:
            terms["smoothness"] = config.smoothness_weight * smoothness(learned)
        if config.inverse_weight:
            between = self.inverse(flat[:, :-1], flat[:, 1:])
            terms["inverse"] = config.inverse_weight * F.mse_loss(between.float(), batch.actions)
        if config.rollout_weight:
            terms["rollout"] = config.rollout_weight * torch.stack(further).mean()
        if twins is not None:
            terms["twin"] = config.twin_weight * F.mse_loss(twins, latents.detach())
        return terms

    def _encode_clips(self, batch: Clips) -> tuple[Float[Tensor, "b t n d"], Float[Tensor, "b t n d"] | None]:
        """Latents of the frames and of their twins, encoded in one pass so that BatchNorm's statistics cover both."""
        if batch.twins is None:
            return self.tokens(batch.frames).unflatten(0, batch.shape), None
        frames, twins = batch.frames.values, batch.twin_frames.values
        both = ObservationBatch({name: torch.cat([frames[name], twins[name]]) for name in frames})
        latents, of_twins = self.tokens(both).chunk(2)
        return latents.unflatten(0, batch.shape), of_twins.unflatten(0, batch.shape)


PRESETS = {"paper": paper, "small": small, "tiny": tiny}
ENTRY = Entry(config=LeWMConfig, module=LeWM, presets=PRESETS, encoder=lambda module: module, world_model=imagining)
