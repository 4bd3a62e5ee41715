"""What one package promises and another asks for, side by side: the type checker proves the match.

`planner` owns the protocols and knows no model; `worldmodel` knows no planner. Only here do they meet by name.
"""

from planner.cem import CEM
from planner.costs import ControlEffort, GoalCost, SquaredDistance, WeightedSum
from planner.optimiser import Optimiser
from planner.protocols import Cost, Distance, WorldModel
from worldmodel.recipes import Recipe
from worldmodel.recipes.lewm import LeWM
from worldmodel.steps_to_go import StepsToGo
from worldmodel.world_model import LatentWorldModel


def world_model(model: LatentWorldModel) -> WorldModel:
    """The trained recipe is a planner's world model."""
    return model


def learned_distance(head: StepsToGo) -> Distance:
    """Steps to go is a planner's distance."""
    return head


def plain_distance(distance: SquaredDistance) -> Distance:
    """So is the squared one."""
    return distance


def cost(part: GoalCost | ControlEffort | WeightedSum) -> Cost:
    """Every cost is one."""
    return part


def optimiser(search: CEM) -> Optimiser:
    """Every optimiser is one."""
    return search


def recipe(module: LeWM) -> Recipe:
    """Every recipe is one."""
    return module
