"""The interfaces of a recipe: the methods that training calls, and the capabilities that the product uses.

Axes, everywhere in this package: b robots or clips, s candidates, h horizon in model steps, t frames, n tokens of one
frame, d width of a token, a actions of one model step, x actions of one control step.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch, SensorSpec


@dataclass(frozen=True)
class Step:
    """A step of a training: its number, and its random numbers."""

    done: int
    """Optimiser steps before this one."""
    total: int
    generator: Generator

    @property
    def progress(self) -> float:
        """Share of the steps already done, 0 to 1."""
        return self.done / max(1, self.total)


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with the same optimiser settings; both rates scale those of the training's configuration."""

    parameters: Sequence[nn.Parameter]
    learning_rate: float = 1.0
    weight_decay: float = 1.0


def decayed_matrices(parameters: Iterable[nn.Parameter]) -> list[ParameterGroup]:
    """Weight decay for matrices, and none for biases and the scales of norms."""
    known = list(parameters)
    return [
        ParameterGroup([each for each in known if each.ndim > 1]),
        ParameterGroup([each for each in known if each.ndim <= 1], weight_decay=0.0),
    ]


@runtime_checkable
class Recipe(Protocol):
    """The methods that the training loop calls on a recipe's module (an `nn.Module`)."""

    def groups(self) -> list[ParameterGroup]:
        """All learned parameters. A target encoder is in no group."""
        ...

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Named, finite terms; their sum is minimised."""
        ...

    def after_step(self, step: Step) -> None:
        """Called after each optimiser step: moving averages go here. `step.done` counts this one."""
        ...


@dataclass(frozen=True)
class Latents:
    """Latents of frames: tokens, and the raw pose for models that need it."""

    tokens: Float[Tensor, "*b n d"]
    state: Float[Tensor, "*b p"] | None = None


@runtime_checkable
class Encoder(Protocol):
    """Encodes observations as latents."""

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Tokens n and width d of a frame."""
        ...

    @property
    def learned(self) -> list[int]:
        """Indices of the learned tokens, which could collapse; the others are unchanged readings."""
        ...

    def encode(self, observation: ObservationBatch) -> Latents:
        """Latents [b n d] of one frame a robot."""
        ...


@runtime_checkable
class WorldModel(Protocol):
    """Imagines latents. `begin` does the work that does not depend on the candidates, once a plan."""

    def begin(self, context: Latents, past_actions: Float[Tensor, "b past a"]) -> Any:
        """The state after the frames seen, tokens [b t n d], and the actions between them."""
        ...

    def stack(self, states: Sequence[Any]) -> Any:
        """The states of several robots as one, in this order. All have seen equally many frames."""
        ...

    def rollout(self, state: Any, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h n d"]:
        """Latents after each model step of each candidate. Leaves `state` as it was.

        Where `actions` want gradients, the latents have them.
        """
        ...

    def predictions(
        self, latents: Float[Tensor, "b t n d"], actions: Float[Tensor, "b t-1 a"]
    ) -> Float[Tensor, "b t-1 n d"]:
        """Predicted latents of each frame but the first, from the frames and actions before it."""
        ...


@runtime_checkable
class LatentPolicy(Protocol):
    """A policy, which needs no rollout."""

    def __call__(self, context: Float[Tensor, "b t n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b h a"]:
        """Unitless actions of the next h model steps, from the newest of t frames towards the goal."""
        ...


@runtime_checkable
class LatentDistance(Protocol):
    """A learned distance to a goal, in a unit of its own."""

    def __call__(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]:
        """The distance from each imagined latent to its robot's goal, 0 or more."""
        ...


@runtime_checkable
class RecipeConfig(Protocol):
    """Fields that every recipe's configuration (a frozen dataclass) must have for training."""

    @property
    def clip_frames(self) -> int:
        """Number of frames of a training clip."""
        ...

    @property
    def wants_twins(self) -> bool:
        """True where a loss needs twins of the frames."""
        ...


@dataclass(frozen=True, kw_only=True)
class Body:
    """The robot that a module is built for."""

    sensors: tuple[SensorSpec, ...]
    action_width: int = 0
    """Actions of one model step; 0 for a module that learns without actions."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the table of recipes: constructors of its module and configurations, and its capabilities.

    `encoder`, `world_model` and `policy` return a capability of a module; None where the recipe lacks it.
    """

    config: type
    module: Callable[[Any, Body], nn.Module]
    presets: Mapping[str, Callable[[], Any]]
    encoder: Callable[[Any], Encoder] | None = None
    world_model: Callable[[Any], WorldModel] | None = None
    policy: Callable[[Any], LatentPolicy] | None = None

    @property
    def plans(self) -> bool:
        """Whether it takes or gives actions; an encoder alone learns without them."""
        return self.world_model is not None or self.policy is not None
