"""Plans of a policy: as an answer without a search, and as the proposal of a search."""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planner.protocols import CostFunction, Policy, RolloutModel, RolloutState
from planner.search import NoFinitePlan, Plan
from planner.search_space import SearchSpace
from planner.threads import threads_for


@dataclass(frozen=True, kw_only=True)
class Verifier:
    """World model and cost that continue and judge one robot's policy plan."""

    model: RolloutModel
    state: RolloutState
    cost: CostFunction
    horizon: int
    """Model steps of the plan."""


def continued(
    policy: Policy,
    model: RolloutModel,
    state: RolloutState,
    context: Float[Tensor, "b t n d"],
    goal: Float[Tensor, "b n d"],
    horizon: int,
) -> Float[Tensor, "b h a"]:
    """The policy's actions for `horizon` model steps.

    While its chunk is shorter, the world model imagines the outcome of the actions so far, and the policy is asked
    again from there. It sees the newest frames, observed or imagined, as many as the context has.
    """
    actions = _chunk(policy, context, goal)
    while actions.shape[1] < horizon:
        imagined = model.rollout(state, actions[:, None])[:, 0]  # [b h n d]
        newest = torch.cat([context, imagined], dim=1)[:, -context.shape[1] :]
        actions = torch.cat([actions, _chunk(policy, newest, goal)], dim=1)
    return actions[:, :horizon]


def policy_plan(
    policy: Policy,
    context: Float[Tensor, "1 t n d"],
    goal: Float[Tensor, "1 n d"],
    space: SearchSpace,
    verifier: Verifier | None = None,
) -> Plan:
    """One robot's plan without a search: the policy's answer, projected onto the search space.

    With a verifier the plan has the verifier's horizon, and the cost and latents of exactly its actions. Without one it
    is as long as the policy's chunk, and has no cost and no latents.

    Raises NoFinitePlan when an action or the cost is not finite, and ValueError for a space of another horizon.
    """
    with threads_for(context.shape[1] * context.shape[2]):
        if verifier is None:
            return _obeying(space, _chunk(policy, context, goal))
        model, state = verifier.model, verifier.state
        actions = continued(policy, model, state, context, goal, verifier.horizon)
        return _verified(_obeying(space, actions), verifier)


def _chunk(policy: Policy, context: Float[Tensor, "b t n d"], goal: Float[Tensor, "b n d"]) -> Float[Tensor, "b h a"]:
    chunk = policy(context, goal)
    if chunk.shape[1] < 1:
        raise ValueError("the policy answered with a chunk of 0 model steps; wanted 1 or more")
    return chunk


def _obeying(space: SearchSpace, actions: Float[Tensor, "1 h a"]) -> Plan:
    if not bool(actions.isfinite().all()):
        raise NoFinitePlan("the policy gave an action that is not finite; check the images and the checkpoint")
    space.rows(actions.shape[1])  # raises for another horizon
    variables = space.encode(actions[0])
    return Plan(actions=space.decode(variables), variables=variables)


def _verified(plan: Plan, verifier: Verifier) -> Plan:
    actions = plan.actions[None, None]
    latents = verifier.model.rollout(verifier.state, actions)
    cost = verifier.cost(latents, actions)
    if not bool(cost.isfinite().all()):
        raise NoFinitePlan("the policy's plan has a cost that is not finite; check the images and the checkpoint")
    return dataclasses.replace(plan, latents=latents[0, 0], cost=float(cost))
