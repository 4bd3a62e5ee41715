"""Results of a demo, as JSON data and as a table for the terminal."""

import statistics
from typing import Any

from server.demo.recording import Recording
from server.demo.tasks import DemoTask
from server.evaluation.rows import rounded
from server.evaluation.statistics import ci95, percentiles_ms


def task_summary(task: DemoTask) -> dict[str, Any]:
    """Results of one model, with a row for each episode. Steps are control steps."""
    model, action, recordings = task.model, task.model.required_action, task.recordings
    steps = [r.planned.steps_to_success for r in recordings if r.planned.steps_to_success is not None]
    return {
        "task": model.task,
        "model": model.name,
        "version": model.version,
        "recipe": model.recipe,
        "weights_sha256": model.weights_sha256,
        "image_px": list(recordings[0].goal_image.shape[:2]),
        "sensors": [sensor.name for sensor in model.sensors],
        "dt_s": action.dt_ms / 1e3,
        "control_steps": action.control_steps,
        "horizon": model.horizon,
        "action_names": list(action.names),
        "action_units": list(action.units),
        "distance_unit": task.distance_unit,
        "surprise_threshold": model.surprise_threshold,
        "episodes": len(recordings),
        "excluded_already_solved": task.excluded_already_solved,
        "opening_episode": task.opening,
        **_rate([r.planned.success for r in recordings], ""),
        **_rate([r.random.success for r in recordings], "random_"),
        "steps_to_success_median": statistics.median(steps) if steps else None,
        "plan_latency_ms": percentiles_ms([s for r in recordings for s in r.planned.latencies_s]),
        "rows": [_row(r) for r in recordings],
    }


def _rate(successes: list[bool], prefix: str) -> dict[str, Any]:
    count, trials = sum(successes), len(successes)
    return {
        f"{prefix}successes": count,
        f"{prefix}success_rate": round(count / trials, 4),
        f"{prefix}ci95": ci95(count, trials),
    }


def _row(recording: Recording) -> dict[str, Any]:
    """Row of an episode. Entry k of `distances` is after k control steps; `actions` lie between, in physical units."""
    pair, planned, random = recording.pair, recording.planned, recording.random
    return {
        "episode": pair.episode,
        "first_step": pair.first_step,
        "start": [round(float(value), 6) for value in pair.start],
        "goal": [round(float(value), 6) for value in pair.goal],
        "success": planned.success,
        "steps_to_success": planned.steps_to_success,
        "distances": [round(distance, 4) for distance in planned.distances],
        "actions": [[round(float(value), 4) for value in action] for action in recording.actions],
        "plans": [
            {
                "step": plan.first_step,
                "predicted_cost": rounded(plan.predicted_cost),
                "surprise": rounded(plan.surprise),
                "status": plan.status,
                "latency_ms": round(1e3 * seconds, 1),
                "server_ms": round(plan.timing.total_us / 1e3, 1),
            }
            for plan, seconds in zip(recording.plans, planned.latencies_s, strict=True)
        ],
        "random_success": random.success,
        "random_steps_to_success": random.steps_to_success,
        "random_distances": [round(distance, 4) for distance in random.distances],
    }


_HEADINGS = ("task", "model", "success", "rate (95 % interval)", "random", "steps to success", "plan p50 / p95")


def table(tasks: list[dict[str, Any]]) -> str:
    """Text table with one line for each model."""
    lines = [_HEADINGS, *(_cells(task) for task in tasks)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "".join("  ".join(map(str.ljust, line, widths)).rstrip() + "\n" for line in lines)


def _cells(task: dict[str, Any]) -> tuple[str, ...]:
    low, high = task["ci95"]
    steps, latency = task["steps_to_success_median"], task["plan_latency_ms"]
    return (
        task["task"],
        task["model"],
        f"{task['successes']}/{task['episodes']}",
        f"{task['success_rate']:.0%} ({low:.0%} to {high:.0%})",
        f"{task['random_successes']}/{task['episodes']}",
        "-" if steps is None else f"{steps:g} ({steps * task['dt_s']:.2g} s)",
        f"{latency['p50']:.0f} / {latency['p95']:.0f} ms",
    )
