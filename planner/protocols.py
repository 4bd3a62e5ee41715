"""What the planner needs from the world, and nothing more.

Axes, everywhere in this package:

====  =======================================================
b     robots in the batch
s     candidate action sequences (samples) of one robot
h     horizon, in model steps
t     context frames, one model step apart
n     latent tokens of one frame
d     width of one latent token
m     latents of one robot to go to in turn, or to keep out of
a     actions of one model step: control steps x action names
c     control steps of the whole horizon
x     actions of one control step, one an action name
k     rows of search variables: model steps, or knots
v     search variables of one row (see search_space)
====  =======================================================

Actions are unitless in [-1, 1]; the server translates to and from physical units.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

Observation = UInt8[Tensor, "b height width 3"]
"""One RGB image a robot, at the size that the model's manifest records."""

RolloutState = Any
"""Made by `WorldModel.begin` or `stack`, handed back to `WorldModel.rollout`, never looked into here."""


@runtime_checkable
class WorldModel(Protocol):
    """Imagines latents. `begin` does once a plan what does not depend on the candidates."""

    def encode(self, observation: Observation) -> Float[Tensor, "b n d"]:
        """Latents of one frame a robot."""
        ...

    def begin(self, context: Float[Tensor, "b t n d"], past_actions: Float[Tensor, "b t-1 a"]) -> RolloutState:
        """Take in the frames seen and the actions between them."""
        ...

    def stack(self, states: Sequence[RolloutState]) -> RolloutState:
        """One state of all these robots, in this order. Each has taken in equally many frames."""
        ...

    def rollout(self, state: RolloutState, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h n d"]:
        """Latents after each model step of each candidate. Leaves `state` as it was.

        Where `actions` want gradients, the latents have them.
        """
        ...


@runtime_checkable
class Cost(Protocol):
    """Scores imagined futures: lower is better. Goals are bound when a cost is made."""

    def __call__(
        self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]
    ) -> Float[Tensor, "b s"]: ...


@runtime_checkable
class Distance(Protocol):
    """How far a latent is from a goal latent, in any unit that grows with the work left."""

    def __call__(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]: ...


@runtime_checkable
class Proposal(Protocol):
    """Where to look first: what to do in the next model step to get from a latent to a goal latent."""

    def __call__(self, latents: Float[Tensor, "b n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b a"]: ...
