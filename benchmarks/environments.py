"""Speed of the simulated tasks: control steps a second with the collection mixture, and pictures a second; medians.

    python benchmarks/environments.py --out benchmarks/results/environments.json

One process, so that figures are of one core. Policies are part of a control step: collection pays for them too.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from pathlib import Path

from envs import ENVS, MAX_EPISODE_STEPS
from envs.pixel_camera import gl_renderer_name
from envs.rollout import EpisodeKey, rollout
from server.provenance import provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--image-size", type=int, default=64, help="pixels a side (default %(default)s)")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    record = provenance()
    result = {
        **record,
        "command": shlex.join(["python", *sys.argv]),
        "renderer": gl_renderer_name(),
        "image_px": arguments.image_size,
        "per_second": {env_id: _rates(env_id, arguments.episodes, arguments.image_size) for env_id in ENVS},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["per_second"], indent=1))  # noqa: T201 - this is what the command is for


def _rates(env_id: str, episodes: int, image_size: int) -> dict[str, dict[str, int]]:
    env = ENVS[env_id](image_size=image_size)
    steps, pictures = [], []
    try:
        env.render_state(env.get_state())  # the first picture makes the OpenGL context
        for index in range(episodes):
            began = time.perf_counter()
            trajectory = rollout(
                env, env_id, EpisodeKey(namespace="development", seed=0, index=index), steps=MAX_EPISODE_STEPS
            )
            simulated = time.perf_counter()
            for state in trajectory.states:
                env.render_state(state)
            steps.append(MAX_EPISODE_STEPS / (simulated - began))
            pictures.append(len(trajectory.states) / (time.perf_counter() - simulated))
    finally:
        env.close()
    return {"control_steps": _spread(steps), "pictures": _spread(pictures)}


def _spread(rates: list[float]) -> dict[str, int]:
    return {"median": round(statistics.median(rates)), "least": round(min(rates)), "most": round(max(rates))}


if __name__ == "__main__":
    main()
