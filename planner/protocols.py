"""The protocols that the planner calls: a world model, a cost, a distance and a policy.

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

from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

RolloutState = Any
"""Each robot's past, as the world model encoded it. The planner hands it to `rollout` and never looks into it."""


@runtime_checkable
class RolloutModel(Protocol):
    """A world model that imagines latents."""

    def rollout(self, state: RolloutState, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h n d"]:
        """Latents after each model step of each candidate. Does not change `state`.

        Candidates do not depend on each other. Where `actions` want gradients, the latents have them.
        """
        ...


@runtime_checkable
class CostFunction(Protocol):
    """Scores imagined futures: lower is better. Goals are bound when a cost is made.

    A candidate's cost depends on no other candidate, since candidates are scored in chunks.
    """

    def __call__(
        self, latents: Float[Tensor, "b s h n d"], actions: Float[Tensor, "b s h a"]
    ) -> Float[Tensor, "b s"]: ...


@runtime_checkable
class Distance(Protocol):
    """Distance of a latent from a goal latent, in any unit that grows with the work left."""

    def __call__(self, latents: Float[Tensor, "b s h n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b s h"]: ...


@runtime_checkable
class Policy(Protocol):
    """A policy that answers with the next h model steps on the way to a goal, without a search.

    The policy chooses h, 1 or more. It serves as a controller (see policy) and as the proposal of a search.
    """

    def __call__(self, context: Float[Tensor, "b t n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b h a"]: ...
