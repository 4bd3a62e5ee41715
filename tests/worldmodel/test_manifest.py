"""The manifest: plain data that comes back as it went, and nothing else comes in."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import ACTION
from worldmodel.errors import CheckpointError
from worldmodel.manifest import (
    ActionSpec,
    Manifest,
    ObservationSpec,
    PlanningSpec,
    SurpriseSpec,
    WeightsSpec,
    read_manifest,
)
from worldmodel.recipes import RECIPES, config_from_json, config_to_json

PRESETS = [(recipe, preset) for recipe, (_, _, presets) in RECIPES.items() for preset in presets]


def manifest(recipe: str = "lewm", preset: str = "tiny", **changes: Any) -> Manifest:
    config = RECIPES[recipe][2][preset]()
    values: dict[str, Any] = {
        "name": "robot",
        "version": "1",
        "recipe": recipe,
        "config": config_to_json(config),
        "observation": ObservationSpec(camera="top", height_px=config.image_px, width_px=config.image_px),
        "action": ACTION,
        "planning": PlanningSpec(context_frames=3, horizon=5, goal_distance_scale=32.0),
        "surprise": SurpriseSpec(quantiles=(0.0, 1.0, 2.5), transitions=100, threshold=2.4),
        "weights": WeightsSpec(sha256="ab" * 32, bytes=7),
        "steps_to_go": {"width": 16, "longest": 30.0},
        "training": {"seed": 3, "curves": {"step": [1, 2]}},
    }
    return Manifest(**{**values, **changes})


@pytest.mark.parametrize(("recipe", "preset"), PRESETS)
def test_json_round_trip(recipe: str, preset: str) -> None:
    """From JSON the configuration is still data; built from it, it is the configuration that went in."""
    went = manifest(recipe, preset)
    came = Manifest.from_json(went.to_json())
    assert json.loads(came.to_json()) == json.loads(went.to_json())
    assert dataclasses.replace(came, config=went.config) == went
    assert config_from_json(recipe, came.config) == RECIPES[recipe][2][preset]()


def test_whole_numbers_are_numbers() -> None:
    """A manifest written by another program may say 1 for 1.0."""
    text = manifest().to_json().replace("1.0", "1").replace("32.0", "32")
    assert Manifest.from_json(text) == Manifest.from_json(manifest().to_json())
    assert type(Manifest.from_json(text).action.high[0]) is float


def test_width_of_a_model_step() -> None:
    assert ACTION.width == 10


def refused(change: dict[str, Any], match: str) -> None:
    data = json.loads(manifest().to_json())
    for path, value in change.items():
        *parents, key = path.split(".")
        part = data
        for parent in parents:
            part = part[parent]
        part[key] = value
    with pytest.raises(CheckpointError, match=match):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 2}, "format is 2; this build reads format 1"),
        ({"format": "1"}, "format is '1'"),
        ({"format": True}, "format is True; wanted int"),
        ({"on_load": "x"}, r"manifest has unknown keys \['on_load'\]"),
        ({"observation.zoom": 2}, r"observation has unknown keys \['zoom'\]"),
        ({"observation": None}, "observation is NoneType; wanted an object"),
        ({"observation.height_px": 64.0}, "height_px is 64.0; wanted int"),
        ({"observation.camera": "top\n"}, r"camera is 'top\\n'; wanted str"),
        ({"action.names": ["x", "\u202e"]}, "names is"),
        ({"action.dt_s": 0}, "dt_s=0.0 must be > 0"),
        ({"action.dt_s": "0.1"}, "dt_s is '0.1'; wanted float"),
        ({"action.low": [-1.0, float("nan")]}, "NaN is not a JSON number"),
        ({"action.high": [1.0, 1e300]}, "high is"),
        ({"planning.horizon": 0}, "horizon=0"),
        ({"planning.goal_distance_scale": float("inf")}, "Infinity is not a JSON number"),
        ({"surprise.quantiles": [1.0]}, "two or more"),
        ({"surprise.quantiles": [1.0, 0.5]}, "ascending"),
        ({"weights.file": "weights.pt"}, "must be 'model.safetensors'"),
        ({"name": "a\x00b"}, r"name is 'a\\x00b'"),
        ({"version": ""}, "must not be empty"),
        ({"training": [1]}, "training is"),
    ],
)
def test_what_is_refused_and_how(change: dict[str, Any], match: str) -> None:
    refused(change, match)


@pytest.mark.parametrize("missing", ["name", "recipe", "config"])
def test_a_missing_key_is_named(missing: str) -> None:
    data = json.loads(manifest().to_json())
    del data[missing]
    with pytest.raises(CheckpointError, match=f"not complete.*{missing}"):
        Manifest.from_json(json.dumps(data))


def test_nothing_that_is_not_a_number_is_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        manifest(training={"loss": float("nan")}).to_json()


@pytest.mark.parametrize("type_name", ["os.system", "LeWMConfig", "PredictorConfig", None, 3])
def test_a_part_names_its_type_from_a_closed_table(type_name: object) -> None:
    config = config_to_json(RECIPES["lewm"][2]["tiny"]())
    config["encoder"]["type"] = type_name
    with pytest.raises(CheckpointError, match=r"encoder has type .*; known parts are"):
        config_from_json("lewm", config)


def test_configurations_are_complete_and_know_no_more() -> None:
    config = config_to_json(RECIPES["lewm"][2]["tiny"]())
    with pytest.raises(CheckpointError, match=r"lacks keys \[\] and has unknown ones \['widht'\]"):
        config_from_json("lewm", {**config, "widht": 1})
    del config["predictor"]["window"]
    with pytest.raises(CheckpointError, match=r"lewm.predictor lacks keys \['window'\] and has unknown ones \[\]"):
        config_from_json("lewm", config)


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match=r"wants recipe 'dreamer'; this build has .*'lewm'"):
        config_from_json("dreamer", {})


@pytest.mark.parametrize(
    ("low", "high", "names"),
    [((-1.0,), (1.0, 1.0), ("x", "y")), ((1.0,), (1.0,), ("x",)), ((), (), ()), ((float("-inf"),), (1.0,), ("x",))],
    ids=["lengths", "no room", "no action", "infinite"],
)
def test_action_limits_that_no_robot_has(low: tuple, high: tuple, names: tuple) -> None:
    with pytest.raises(CheckpointError, match="action"):
        ActionSpec(names=names, units=("m",) * len(names), low=low, high=high, dt_s=0.1, control_steps=5)


def test_errors_of_a_file_name_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "robot-7"
    folder.mkdir()
    with pytest.raises(CheckpointError, match=r"robot-7 has no manifest\.json; wanted a folder with"):
        read_manifest(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"manifest\.json of robot-7 cannot be used: .* is not JSON"):
        read_manifest(folder)
