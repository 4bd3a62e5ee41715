"""What one package promises and another asks for, side by side: the type checker proves the match.

`planner` owns the protocols and knows no model; `worldmodel` knows no planner. Only here do they meet by name.
"""

from collections.abc import Mapping

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
from worldmodel import Checkpoint
from worldmodel.heads.inverse_dynamics import InverseDynamics
from worldmodel.heads.steps_to_go import StepsToGo
from worldmodel.heads.task_distance import TaskDistance
from worldmodel.inference.fast_steps_to_go import FastStepsToGo
from worldmodel.inference.world_model import FastEncoder, FastWorldModel
from worldmodel.parts.frames import FrameEncoder
from worldmodel.parts.world_model import CausalWorldModel
from worldmodel.recipe import Encoder, LatentDistance, LatentPolicy, Recipe
from worldmodel.recipe import WorldModel as ImaginingModel
from worldmodel.recipes.gcbc import GCBC, ClonedPolicy
from worldmodel.recipes.lewm import LeWM
from worldmodel.recipes.pldm import PLDM
from worldmodel.recipes.random_encoder import RandomEncoder


def offered(
    checkpoint: Checkpoint,
) -> tuple[RolloutModel | None, Policy | None, Mapping[str, tuple[float, Distance]]]:
    """A planner takes a checkpoint's world model, policy and distances."""
    return checkpoint.world_model, checkpoint.policy, checkpoint.distances


def world_model(model: ImaginingModel) -> RolloutModel:
    """Every world model of a recipe is a planner's."""
    return model


def imagining(model: CausalWorldModel | FastWorldModel) -> ImaginingModel:
    """The plain one and the fast one imagine for a recipe."""
    return model


def distance(learned: LatentDistance) -> Distance:
    """Every learned distance is a planner's."""
    return learned


def learned_distance(head: StepsToGo | FastStepsToGo | TaskDistance) -> LatentDistance:
    """Steps to go, as trained and as planned with, and the task distance."""
    return head


def policy(learned: LatentPolicy) -> Policy:
    """Every policy of a recipe or a head is a planner's."""
    return learned


def learned_policy(head: InverseDynamics | ClonedPolicy) -> LatentPolicy:
    """Inverse dynamics and behaviour cloning, policies of one model step."""
    return head


def encoder(module: FrameEncoder | FastEncoder) -> Encoder:
    """As trained and as served."""
    return module


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
