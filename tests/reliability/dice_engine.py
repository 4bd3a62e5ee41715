"""An engine whose every number may be wrong, as the seed says: `python -m tests.reliability.dice_engine FD`."""

import asyncio
import math
import os
import random
import socket
import sys
from typing import Any

import numpy as np

from server import schemas
from server.engine.channel import Channel
from server.engine.host import host
from server.engine.protocol import EngineReply, Incumbents, WarmStart
from tests.reliability.fake_engine import FakeEngine, planned

COMMAND = (sys.executable, "-P", "-m", "tests.reliability.dice_engine")
ODD = (math.nan, math.inf, -math.inf, 1e38, -1e308, 5e-324, -0.0, 1.0, -1.0, 1 + 2**-52, 1.0000001, -1.5)
NUMBERS = ("predicted_cost", "goal_distance", "planned_goal_distance", "surprise")


class DiceEngine(FakeEngine):
    """Answers at once: first a few incumbents, then a plan."""

    async def plan(
        self,
        request: schemas.PlanRequest,
        *,
        deadline: float,
        warm_start: WarmStart | None = None,
        on_incumbent: Incumbents | None = None,
    ) -> EngineReply:
        dice = random.Random(request.planner.seed)
        for _ in range(dice.randrange(3)):
            if on_incumbent is not None:
                on_incumbent(spoiled(planned(request, [1.0]), dice))
        return spoiled(planned(request, [1.0]), dice)


def spoiled(plan: EngineReply, dice: random.Random) -> EngineReply:
    """With odd numbers in some places, or in none."""
    response = plan.response
    actions = np.random.default_rng(dice.randrange(2**32)).uniform(-1, 1, response.chunk.actions.shape)
    for _ in range(dice.choice([0, 0, 1, 2])):
        actions[dice.randrange(len(actions)), dice.randrange(actions.shape[1])] = dice.choice(ODD)
    changes: dict[str, Any] = {"chunk": response.chunk.model_copy(update={"actions": actions})}
    if dice.random() < 0.3:
        changes[dice.choice(NUMBERS)] = dice.choice(ODD)
    if dice.random() < 0.1:
        changes["costs"] = [dice.choice(ODD)]
    if dice.random() < 0.1:
        changes["goal_distances"] = [dice.choice(ODD)]
    if dice.random() < 0.1:
        changes["safety"] = response.safety.model_copy(update={"max_step_delta": [dice.choice(ODD), 0.0]})
    return EngineReply(response.model_copy(update=changes), plan.warm_start)


async def main() -> None:
    await host(DiceEngine(), await Channel.open(socket.socket(fileno=int(sys.argv[-1]))))


if __name__ == "__main__":
    asyncio.run(main())
    os._exit(0)
