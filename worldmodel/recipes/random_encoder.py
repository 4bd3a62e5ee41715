"""A frozen random encoder: how far does planning get on latents that were not learned?

A control, not a published method: encoder and projector keep the weights that they were drawn with, and only the
predictor learns. Latents are standardised once, on the first batch, since the losses and distances of the other recipes
are of unit variance too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch
from worldmodel.parts.frames import FrameEncoder
from worldmodel.parts.predictor import prediction_errors
from worldmodel.parts.processes import average
from worldmodel.recipe import Body, Entry, ParameterGroup, Step
from worldmodel.recipes.network import NetworkConfig, imagining, make_predictor, presets

LEAST_STD = 1e-3
"""A latent's standard deviation counts as this much when it is less: with a covered camera nothing varies."""


@dataclass(frozen=True, kw_only=True)
class RandomEncoderConfig(NetworkConfig):
    """The architecture; the recipe has no other settings."""


class RandomEncoder(FrameEncoder):
    """A trained predictor over random latents."""

    is_standardised: Tensor

    def __init__(self, config: RandomEncoderConfig, body: Body) -> None:
        super().__init__(config, body.sensors)
        self.config = config
        self.requires_grad_(False)
        self.predictor = make_predictor(config, len(body.sensors), body.action_width)
        self.register_buffer("is_standardised", torch.tensor(False))

    def groups(self) -> list[ParameterGroup]:
        """The predictor alone."""
        return [ParameterGroup(list(self.predictor.parameters()))]

    def train(self, mode: bool = True) -> "RandomEncoder":
        """Puts the predictor alone into training mode: the frozen BatchNorm keeps its statistics."""
        super().train(mode)
        for _, _, head in self.cameras:
            head.eval()
        return self

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """`predict`: mean squared error of the next latent."""
        assert batch.actions is not None
        if not self.is_standardised:
            self._standardise(batch.frames)
        latents = self.tokens(batch.frames).unflatten(0, batch.shape)
        return {"predict": prediction_errors(self.predictor, latents.flatten(2), batch.actions)[0]}

    @torch.no_grad()
    def _standardise(self, observation: ObservationBatch) -> None:
        """Fold mean and standard deviation of each camera's latents of these frames into its last layer."""
        for spec, encoder, head in self.cameras:
            images = observation.values[spec.name]
            with torch.autocast(images.device.type, enabled=False):
                _standardise_head(head, encoder(self.pixels(images)))
        self.is_standardised.fill_(True)


def _standardise_head(head: nn.Sequential, features: Float[Tensor, "rows f"]) -> None:
    _, norm, _, last = head
    assert isinstance(norm, nn.BatchNorm1d) and isinstance(last, nn.Linear)
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = _moments(head[0](features))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    mean, variance = _moments(head(features))
    std = variance.sqrt().clamp_min(LEAST_STD)
    last.weight.div_(std[:, None])
    last.bias.sub_(mean).div_(std)


def _moments(rows: Float[Tensor, "rows w"]) -> tuple[Tensor, Tensor]:
    """Mean and variance of each column, over all training processes."""
    mean = average(rows.mean(0))
    return mean, average((rows - mean).square().mean(0))


PRESETS = presets(RandomEncoderConfig)
ENTRY = Entry(
    config=RandomEncoderConfig,
    module=RandomEncoder,
    presets=PRESETS,
    encoder=lambda module: module,
    world_model=imagining,
)
