"""A Gymnasium environment, driven through a Telos server.

    telos serve &
    python examples/gymnasium_loop.py --server grpc://127.0.0.1:8601 --model tworoom-lewm --env telos/TwoRoom-v0

The environment gives readings of the model's sensors as `observation`, and as `goal` what they should give. Its time
stands still while a plan is made.
"""

import argparse
import os
from collections.abc import Sequence

import gymnasium
import numpy as np

import envs  # noqa: F401 - registers telos/...
from telos import Controller, Observation, connect


def main(arguments: Sequence[str] | None = None) -> bool:
    """Whether the goal was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="http://127.0.0.1:8600")
    parser.add_argument("--model", default="tworoom-lewm")
    parser.add_argument("--env", default="telos/TwoRoom-v0")
    parser.add_argument("--steps", type=int, default=100, help="control steps at most (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)

    with connect(given.server, token=os.environ.get("TELOS_TOKEN")) as planner:
        sensors = [sensor.name for sensor in planner.model(given.model).sensors]
        env = gymnasium.make(given.env, max_episode_steps=given.steps, sensors=sensors)
        observation, info = env.reset(seed=given.seed)
        controller = Controller(planner, model=given.model, goal=Observation.of_readings(observation["goal"]))
        reached = over = False
        while not (reached or over):
            plan = controller.plan(Observation.of_readings(observation["observation"]))
            print(f"step {controller.step}: {info['distance']:.3f} from the goal, in latents {plan.goal_distance:.3f}")
            for action in plan.next_actions:
                observation, _, reached, over, info = env.step(action.astype(np.float32))
                controller.executed(action[None])
                if reached or over:
                    break
    env.close()
    print("reached" if reached else "not reached", f"after {controller.step} control steps")
    return reached


if __name__ == "__main__":
    main()
