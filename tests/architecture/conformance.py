"""What one package promises and another asks for, side by side: the type checker proves the match.

`planner` owns the protocols and knows no model; `worldmodel` knows no planner. Only here do they meet by name.
"""

from torch import Tensor

from planner.cem import CEM
from planner.constraints import Constrained
from planner.costs import (
    AbsoluteDistance,
    ControlEffort,
    GoalCost,
    KeepOutCost,
    Smoothness,
    SquaredDistance,
    WeightedSum,
)
from planner.gradient_descent import DescentSearch, GradientDescent
from planner.icem import ICEM, ICEMSearch
from planner.mppi import MPPI
from planner.optimiser import Optimiser, Search
from planner.predictive_sampling import PredictiveSampling, VariationSearch
from planner.protocols import CostFunction, Distance, Policy, RolloutModel
from planner.sampling import GaussianSearch
from planner.search_space import PerStep, SearchSpace
from planner.spline import Spline
from worldmodel.heads.inverse_dynamics import InverseDynamics
from worldmodel.heads.steps_to_go import StepsToGo
from worldmodel.inference.fast_steps_to_go import FastStepsToGo
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.recipes import Recipe
from worldmodel.recipes.gcbc import GCBC
from worldmodel.recipes.lewm import LeWM
from worldmodel.recipes.pldm import PLDM
from worldmodel.recipes.random_encoder import RandomEncoder


def world_model(model: LatentWorldModel) -> RolloutModel:
    """The trained recipe is a planner's world model."""
    return model


def learned_distance(head: StepsToGo | FastStepsToGo) -> Distance:
    """Steps to go is a planner's distance, as trained and as planned with."""
    return head


def policy(head: InverseDynamics) -> Policy:
    """Inverse dynamics are a policy of one model step, which looks at the newest frame."""

    def act(context: Tensor, goal: Tensor) -> Tensor:
        return head(context[:, -1], goal)[:, None]

    return act


def plain_distance(distance: SquaredDistance | AbsoluteDistance) -> Distance:
    """So are the plain ones."""
    return distance


def cost(part: GoalCost | ControlEffort | Smoothness | KeepOutCost | WeightedSum) -> CostFunction:
    """Every cost is one."""
    return part


def optimiser(method: CEM | ICEM | MPPI | PredictiveSampling | GradientDescent) -> Optimiser:
    """Every optimiser is one."""
    return method


def search(state: GaussianSearch | ICEMSearch | VariationSearch | DescentSearch) -> Search:
    """The loop can read every optimiser's state."""
    return state


def search_space(space: PerStep | Spline | Constrained) -> SearchSpace:
    """Every search space is one."""
    return space


def recipe(module: LeWM | PLDM | GCBC | RandomEncoder) -> Recipe:
    """Every recipe is one."""
    return module
