"""The page of an evaluation: one HTML file that needs no other file and no network."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np

from envs.mujoco_env import MujocoGoalEnv
from server.evaluation.charts import latencies, success_by_distance
from server.evaluation.outcomes import OUTCOMES, SUCCESSES
from server.evaluation.rows import FILM
from server.evaluation.simulation import simulation
from server.film.film import Film, webp
from telos.replies import ModelInfo

Row = Mapping[str, Any]

MOST_FILMS = 24
MOST_SUCCESSES = 3
MOST_BYTES = 8_000_000
"""The most bytes of all films together, before they are encoded as text."""
FILMS_NOTE = (
    "A film shows the robot beside the goal image, the cost that each plan predicted, and the surprise of each "
    "transition."
)
_RATES = {
    "": "at any step",
    "at_end_": "at the last step of the budget",
    "tight_": "within half the distance",
    "whole_": "everything in the goal image",
}


def page(result: Mapping[str, Any], rows: Sequence[Row], model: ModelInfo) -> str:
    """The page as HTML. `rows` are those of the nominal world; rows of failures have what a film needs."""
    failures = [row for row in rows if not row["success"]]
    first = [row for row in rows if row["success"] and FILM in row]
    with closing(simulation(model)) as env:
        films = list(_films(env, _spread(failures), model))
        successes = list(_films(env, first[:MOST_SUCCESSES], model))
        unit = env.distance_unit
    note = f"{len(failures)} of {len(rows)} episodes failed; {len(films)} are shown."
    return Template(_part("page.html")).substitute(
        style=_part("page.css"),
        title=escape(f"{result['model']} {result['protocol']}"),
        model=escape(result["model"]),
        protocol=escape(result["protocol"]),
        lead=escape(_lead(result)),
        rates=_rates(result),
        worlds=_worlds(result["worlds"]),
        kinds=_kinds(result["kinds"]),
        outcomes=_outcomes(result["outcomes"], len(rows)),
        charts="".join(_figure(svg) for svg in (success_by_distance(rows, unit), latencies(rows, result["robots"]))),
        failures_note=escape(note),
        films_note=escape(FILMS_NOTE),
        failures="".join(films),
        successes_note=escape(_successes_note(len(rows) - len(failures), len(successes))),
        successes="".join(successes),
        made_by=escape(_made_by(result)),
    )


def _lead(result: Mapping[str, Any]) -> str:
    goal = result["offset_steps"]
    where = (
        "start and goal wherever the task resets to" if goal is None else f"goals {goal} control steps after the start"
    )
    return (
        f"{result['task']}: {result['episodes']} held-out episodes, {where}, budget {result['budget_steps']} control "
        f"steps, preset {result['preset']}, split {result['split']}, seeds {', '.join(map(str, result['seeds']))}."
        f"{_disturbed(result['disturbed'])} Left out, since "
        f"the start was a success already: {result['excluded_already_solved']} pairs. Intervals hold 95 %."
    )


def _successes_note(reached: int, shown: int) -> str:
    return f"{reached} episodes succeeded; {shown} of the first ones are shown." if shown else "None among the first."


def _disturbed(disturbed: Mapping[str, str]) -> str:
    """A sentence, with the space before it; empty when every sensor was as it should be."""
    return f" Disturbed sensors: {', '.join(f'{name} {way}' for name, way in disturbed.items())}." if disturbed else ""


def _rates(result: Mapping[str, Any]) -> str:
    """A table of all rates; the controls stand beside those that they have."""
    lines = []
    for prefix, what in _RATES.items():
        controls = [f"random_{prefix}", f"noop_{prefix}"]
        beside = [_rate(result, control) if f"{control}ci95" in result else "–" for control in controls]
        lines.append((what, f"<b>{_rate(result, prefix)}</b>", *beside))
    return _table(("success", "planned", "random policy", "no action"), lines)


def _worlds(worlds: Mapping[str, Any]) -> str:
    if not worlds:
        return ""
    played = [(name, world) for name, world in worlds.items() if world["episodes"]]
    played.sort(key=lambda each: each[1]["success_rate"])
    lines = [
        (
            escape(name),
            _rate(world, ""),
            _share(world),
            _rate(world, "random_"),
            _rate(world, "noop_"),
            str(world["episodes"]),
        )
        for name, world in played
    ]
    headings = ("factor drawn anew", "planned", "share of nominal", "random policy", "no action", "episodes")
    return f'<h2>Under factors of variation</h2><div class="card">{_table(headings, lines)}</div>'


def _share(world: Mapping[str, Any]) -> str:
    if world["share_of_nominal"] is None:
        return "–"
    low, high = world["share_ci95"]
    return f"{world['share_of_nominal']:.2f}<small>{low:.2f} to {high:.2f}</small>"


def _kinds(kinds: Mapping[str, Any]) -> str:
    lines = [
        (
            escape(name),
            str(kind["episodes"]),
            f"<b>{_rate(kind, '')}</b>",
            _rate(kind, "at_end_"),
            _rate(kind, "random_"),
        )
        for name, kind in kinds.items()
    ]
    return _table(("kind", "episodes", "at any step", "at the last step", "random policy"), lines)


def _outcomes(outcomes: Mapping[str, int], episodes: int) -> str:
    lines = [(name, f"{count} of {episodes}", escape(OUTCOMES[name])) for name, count in outcomes.items()]
    return _table(("outcome", "episodes", ""), lines)


def _rate(rates: Mapping[str, Any], prefix: str) -> str:
    low, high = rates[f"{prefix}ci95"]
    return f"{rates[f'{prefix}success_rate']:.1%}<small>{low:.1%} to {high:.1%}</small>"


def _table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _spread(failures: Sequence[Row]) -> list[Row]:
    """At most MOST_FILMS, taken in turn from every outcome and kind: the rare ones are seen too."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in failures:
        groups.setdefault((row["outcome"], row["kind"]), []).append(row)
    in_turn = [row for turn in range(len(failures)) for group in groups.values() for row in group[turn : turn + 1]]
    order = [name for name in OUTCOMES if name not in SUCCESSES]
    return sorted(in_turn[:MOST_FILMS], key=lambda row: (order.index(row["outcome"]), row["kind"], row["episode"]))


def _films(env: MujocoGoalEnv, rows: Sequence[Row], model: ModelInfo) -> Iterator[str]:
    size = 0
    for row in rows:
        film = webp([_film(env, row, model)])
        size += len(film)
        if size > MOST_BYTES:
            return
        name = escape(f"episode {row['episode']}, {row['kind']}: {row['outcome']}")
        yield f'<div class="card film"><p>{name}</p><img alt="{name}" src="{_data_url("webp", film)}"></div>'


def _film(env: MujocoGoalEnv, row: Row, model: ModelInfo) -> Film:
    return Film(
        title=f"{model.task}   episode {row['episode']}",
        dt_s=env.dt_s,
        control_steps=model.required_action.control_steps,
        frames=[env.render_state(np.array(state)) for state in row[FILM]["states"]],
        goal=env.render_state(np.array(row["goal"])),
        distances=row[FILM]["distances"],
        distance_unit=env.distance_unit,
        costs=row["predicted_costs"],
        surprises=row["surprises"],
        surprise_threshold=model.surprise_threshold,
        success=row["success"],
    )


def _figure(svg: bytes) -> str:
    return f'<div class="card"><img alt="" src="{_data_url("svg+xml", svg)}"></div>'


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode('ascii')}"


def _made_by(result: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{result['command']}; commit {result['commit']}; weights {result['weights_sha256'][:12]}; {versions}; "
        f"drawn by {result['renderer']}; {result['machine']['processor']}, {result['machine']['cores']} cores"
    )


def _part(name: str) -> str:
    return (files("server.evaluation") / "assets" / name).read_text(encoding="utf-8")
