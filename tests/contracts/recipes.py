"""The recipes that laws are tried on: those of the product, and one that is an encoder and nothing else.

Each is made at its tiny preset, for one camera and for several sensors.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tests.readings import random_clips
from tests.tiny import ACTION, SEVERAL, TOP
from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.parts.regularizers import variance_hinge
from worldmodel.parts.targets import TargetEncoder
from worldmodel.recipe import Body, Entry, Latents, ParameterGroup, Step, WorldModel
from worldmodel.recipes import RECIPES

CLIPS = 12
FRAMES = 3
"""Frames of a context, no more than a tiny predictor's window."""
FROZEN = {"random-encoder"}
"""Recipes that do not learn their encoder."""
FOLLOWING = {"ijepa", "vjepa", "vjepa2", "vjepa2-1"}
"""Recipes that serve a moving average of the encoder that they learn."""
SENSORS: dict[str, tuple[SensorSpec, ...]] = {"one camera": (TOP,), "two cameras and a vector": SEVERAL}


@dataclass(frozen=True, kw_only=True)
class AlikeConfig:
    """Frames of a clip are to look alike, and frames of different clips are not."""

    latent_width: int = 8
    clip_frames: int = 2

    @property
    def wants_twins(self) -> bool:
        """No loss needs twins."""
        return False


class AlikeEncoder(nn.Module):
    """One token a sensor: a Linear on 4 x 4 pixels, or on a vector's standardised entries. It has a target encoder."""

    def __init__(self, config: AlikeConfig, body: Body) -> None:
        super().__init__()
        self.config, self.sensors = config, body.sensors
        widths = {spec.name: 48 if spec.kind == "camera" else spec.size for spec in body.sensors}
        self.layers = nn.ModuleDict({name: nn.Linear(width, config.latent_width) for name, width in widths.items()})
        self.target = TargetEncoder(self.layers)

    @property
    def latent_shape(self) -> tuple[int, int]:
        return len(self.sensors), self.config.latent_width

    @property
    def learned(self) -> list[int]:
        return list(range(len(self.sensors)))

    def encode(self, observation: ObservationBatch) -> Latents:
        return Latents(self.tokens(observation, self.layers))

    def tokens(self, observation: ObservationBatch, layers: nn.ModuleDict) -> Tensor:
        features = {spec.name: features_of(spec, observation.values[spec.name]) for spec in self.sensors}
        return torch.stack([layers[name](value) for name, value in features.items()], dim=1)

    def groups(self) -> list[ParameterGroup]:
        learned = list(self.layers.parameters())
        weights, biases = ([each for each in learned if each.ndim == axes] for axes in (2, 1))
        return [
            ParameterGroup(weights, learning_rate=10.0),
            ParameterGroup(biases, learning_rate=10.0, weight_decay=0.0),
        ]

    def losses(self, batch: Clips, step: Step) -> dict[str, Tensor]:
        latents = self.tokens(batch.frames, self.layers).float().unflatten(0, batch.shape)
        target = self.target.module
        assert isinstance(target, nn.ModuleDict)
        wanted = self.tokens(batch.frames, target).float().unflatten(0, batch.shape)
        return {
            "alike": F.mse_loss(latents[:, :-1], wanted[:, 1:]),
            "variance": 4 * variance_hinge(latents.permute(1, 2, 0, 3)),
        }

    def after_step(self, step: Step) -> None:
        self.target.follow(self.layers, momentum=0.9)


def features_of(spec: SensorSpec, values: Tensor) -> Tensor:
    if spec.kind == "vector":
        return spec.standardised(values)
    return 8 * (F.adaptive_avg_pool2d(values.movedim(-1, 1).float() / 255, 4).flatten(1) - 0.5)


ENCODER_ALONE = "encoder-alone"
ENTRIES: dict[str, Entry] = {
    **RECIPES,
    ENCODER_ALONE: Entry(
        config=AlikeConfig, module=AlikeEncoder, presets={"tiny": AlikeConfig}, encoder=lambda module: module
    ),
}
IMAGINING = [name for name, entry in ENTRIES.items() if entry.world_model is not None]
ACTING = [name for name, entry in ENTRIES.items() if entry.policy is not None]
PRESETS = [(name, preset) for name, entry in ENTRIES.items() for preset in entry.presets]


every_recipe = pytest.mark.parametrize("name", ENTRIES)
every_preset = pytest.mark.parametrize(("name", "preset"), PRESETS)


def body_for(name: str, sensors: tuple[SensorSpec, ...]) -> Body:
    return Body(sensors=sensors, action_width=ACTION.width if ENTRIES[name].plans else 0)


def make(name: str, sensors: tuple[SensorSpec, ...], seed: int = 0) -> Any:
    entry = ENTRIES[name]
    torch.manual_seed(seed)
    return entry.module(entry.presets["tiny"](), body_for(name, sensors))


def unsettled(name: str, sensors: tuple[SensorSpec, ...]) -> Any:
    """In evaluation mode, and away from where training begins: what starts at zero does something."""
    module = make(name, sensors)
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    return module.eval()


def clips_for(name: str, sensors: tuple[SensorSpec, ...], seed: int = 0) -> Clips:
    frames = ENTRIES[name].presets["tiny"]().clip_frames
    return random_clips(sensors, CLIPS, frames, action_width=body_for(name, sensors).action_width, seed=seed)


def calm_clips_for(name: str, sensors: tuple[SensorSpec, ...]) -> Clips:
    """Each camera sees one colour throughout a clip: from noise, nothing hidden could be predicted."""
    clips = clips_for(name, sensors)
    for spec in sensors:
        if spec.kind == "camera":
            clips.sensors[spec.name][:] = clips.sensors[spec.name][:, :1, :1, :1].clone()
    return clips


def step_at(done: int = 0, seed: int = 0) -> Step:
    return Step(done, 30, Generator().manual_seed(seed))


def losses(recipe: Any, name: str, sensors: tuple[SensorSpec, ...], seed: int = 0) -> dict[str, Tensor]:
    return recipe.losses(clips_for(name, sensors), step_at(seed=seed))


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def frames_seen(sensors: tuple[SensorSpec, ...], seed: int = 0) -> Tensor:
    """Latents [2 t n d] of two robots at the tiny presets' width."""
    width = RECIPES["lewm"].presets["tiny"]().latent_width
    return torch.randn(2, FRAMES, len(sensors), width, generator=Generator().manual_seed(seed))


def past() -> Tensor:
    return torch.rand(2, FRAMES - 1, ACTION.width, generator=Generator().manual_seed(1)) * 2 - 1


def future() -> Tensor:
    """Four candidates of five model steps for each of two robots."""
    return torch.rand(2, 4, 5, ACTION.width, generator=Generator().manual_seed(2)) * 2 - 1


def begun(model: WorldModel, sensors: tuple[SensorSpec, ...]) -> Any:
    return model.begin(Latents(frames_seen(sensors)), past())


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Every tensor inside, in order."""
    if isinstance(value, Tensor):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_of(getattr(value, field.name))
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from tensors_of(each)


def relative_error(given: Tensor, wanted: Tensor) -> float:
    return float((given - wanted).norm().detach() / wanted.norm().detach())
