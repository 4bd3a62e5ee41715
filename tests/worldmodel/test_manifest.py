"""The manifest: plain data that comes back as it went, and nothing else comes in."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import ACTION, HEADS, INVERSE_DYNAMICS, PROPRIOCEPTION, SEVERAL, TOP
from worldmodel.errors import CheckpointError
from worldmodel.manifest import (
    ActionSpec,
    CalibrationSpec,
    LatentSpec,
    Manifest,
    Parent,
    PlanningSpec,
    WeightsSpec,
    read_manifest,
)
from worldmodel.recipes import RECIPES, config_from_json, config_to_json

PRESETS = [(recipe, preset) for recipe, entry in RECIPES.items() for preset in entry.presets]


def manifest(recipe: str = "lewm", preset: str = "tiny", **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "name": "robot",
        "version": "1",
        "recipe": recipe,
        "config": config_to_json(RECIPES[recipe].presets[preset]()),
        "sensors": SEVERAL,
        "latent": LatentSpec(tokens=3, width=16),
        "action": ACTION,
        "planning": PlanningSpec(context_frames=3, horizon=5, goal_distance_scale=32.0),
        "calibration": CalibrationSpec(quantiles=(0.0, 1.0, 2.5), transitions=100, threshold=2.4),
        "heads": {**HEADS, "inverse_dynamics": INVERSE_DYNAMICS},
        "parents": (Parent(name="robot-base", sha256="cd" * 32),),
        "weights": WeightsSpec(sha256="ab" * 32, bytes=7),
        "task": "tests/Dot-v0",
        "training": {"seed": 3, "curves": {"step": [1, 2]}},
    }
    return Manifest(**{**values, **changes})


def data() -> dict[str, Any]:
    return json.loads(manifest().to_json())


def read(changed: dict[str, Any]) -> Manifest:
    return Manifest.from_json(json.dumps(changed))


@pytest.mark.parametrize(("recipe", "preset"), PRESETS)
def test_json_round_trip(recipe: str, preset: str) -> None:
    """From JSON the configuration is still data; built from it, it is the configuration that went in."""
    went = manifest(recipe, preset)
    came = Manifest.from_json(went.to_json())
    assert json.loads(came.to_json()) == json.loads(went.to_json())
    assert dataclasses.replace(came, config=went.config) == went
    assert config_from_json(recipe, came.config) == RECIPES[recipe].presets[preset]()


@pytest.mark.parametrize(
    "lacks",
    [
        {"planning": None, "calibration": None},
        {"action": None, "planning": None, "calibration": None, "heads": {}},
        {"calibration": None, "parents": (), "task": "", "training": {}},
    ],
    ids=["encodes with heads", "encodes", "not calibrated"],
)
def test_what_a_model_lacks_is_null_or_empty(lacks: dict[str, Any]) -> None:
    went = manifest(**lacks)
    written = json.loads(went.to_json())
    assert all(not written[key] for key in lacks)
    assert Manifest.from_json(went.to_json()).to_json() == went.to_json()


def test_whole_numbers_are_numbers() -> None:
    """A manifest written by another program may say 1 for 1.0."""
    text = manifest().to_json().replace("1.0", "1").replace("32.0", "32")
    assert Manifest.from_json(text) == Manifest.from_json(manifest().to_json())
    action = Manifest.from_json(text).action
    assert action is not None and type(action.high[0]) is float


def test_width_of_a_model_step() -> None:
    assert ACTION.width == 10


def test_size_of_a_frames_latents() -> None:
    assert LatentSpec(tokens=3, width=16).size == 48


def sensor_at(index: int, **changes: Any) -> dict[str, Any]:
    """A change to one of the manifest's sensors."""
    return {f"sensors.{index}.{key}": value for key, value in changes.items()}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 1}, "format is 1; this build reads format 2"),
        ({"format": 3}, "format is 3; this build reads format 2"),
        ({"format": "2"}, "format is '2'"),
        ({"format": True}, "format is True; this build reads format 2"),
        ({"format": 2.0}, "format is 2.0; wanted int"),
        ({"on_load": "x"}, r"manifest has unknown keys \['on_load'\]"),
        ({"observation": {}}, r"manifest has unknown keys \['observation'\]"),
        ({"sensors": []}, r"sensors are \[\]; wanted one or more"),
        ({"sensors": {}}, "sensors is dict; wanted a list"),
        ({"sensors.0": "top"}, r"sensors\[0\] is str; wanted an object"),
        (sensor_at(0, zoom=2), r"sensors\[0\] has unknown keys \['zoom'\]"),
        (sensor_at(1, name="top"), r"sensors are \['top', 'top', 'proprioception'\]; .* a name of its own"),
        (sensor_at(0, name="top\n"), r"name is 'top\\n'; wanted str"),
        (sensor_at(0, name="a/b"), "called 'a/b'; wanted a name without '/'"),
        (sensor_at(0, name=""), "called ''"),
        (sensor_at(0, kind="lidar"), "kind is 'lidar'; wanted .*camera.*vector"),
        (sensor_at(0, kind="vector"), "vector top has shape"),
        (sensor_at(0, shape=[64.0, 64, 3]), "shape is .*64.0.*; wanted"),
        (sensor_at(0, shape=[64, 64, 1]), r"camera top has shape .* wanted \(height, width, 3\)"),
        (sensor_at(0, shape=[8, 64, 3]), "16..4096 px"),
        (sensor_at(0, shape=[64, 4097, 3]), "16..4096 px"),
        (sensor_at(0, resize="lanczos"), "resize is 'lanczos'; wanted .*area.*bilinear"),
        (sensor_at(0, names=["x"]), "camera top has names.* only vectors have them"),
        (sensor_at(0, std=[1.0]), "camera top has names.* only vectors have them"),
        (sensor_at(2, low=[], high=[]), "proprioception wants names, units, low and high for each of its entries"),
        (sensor_at(2, units=["rad"]), "proprioception wants names, units, low and high"),
        (sensor_at(2, high=[-3.2] * 7), "proprioception wants finite low < high"),
        (sensor_at(2, shape=[0]), "proprioception has shape"),
        (sensor_at(2, shape=[2, 3]), "proprioception has shape"),
        (sensor_at(2, std=[]), "proprioception wants a finite mean and std > 0 for each entry, or neither"),
        (sensor_at(2, mean=[]), "proprioception wants a finite mean and std > 0 for each entry, or neither"),
        (sensor_at(2, mean=[0.0]), "proprioception wants a finite mean and std > 0"),
        (sensor_at(2, std=[0.0] * 7), "proprioception wants a finite mean and std > 0"),
        ({"latent": None}, "latent is NoneType; wanted an object"),
        ({"latent.tokens": 0}, "latent is 0 tokens x 16; wanted 1..65536 of each"),
        ({"latent.width": 65537}, "latent is 3 tokens x 65537"),
        ({"latent.shape": [1, 2]}, r"latent has unknown keys \['shape'\]"),
        ({"action.names": ["x", "\u202e"]}, "names is"),
        ({"action.dt_s": 0}, "dt_s=0.0 must be > 0"),
        ({"action.dt_s": "0.1"}, "dt_s is '0.1'; wanted float"),
        ({"action.control_steps": 0}, "control_steps=0 at least 1"),
        ({"action.low": [-1.0, float("nan")]}, "NaN is not a JSON number"),
        ({"action.high": [1.0, 1e300]}, "high is"),
        ({"action": None}, "planning is given without action; wanted both, or neither for an encoder alone"),
        ({"planning.horizon": 0}, "horizon=0"),
        ({"planning.context_frames": -1}, "context_frames=-1"),
        ({"planning.goal_distance_scale": float("inf")}, "Infinity is not a JSON number"),
        ({"planning.goal_distance_scale": 0}, "goal_distance_scale=0.0 must be in 1e-6..1e12"),
        ({"calibration.quantiles": [1.0]}, "two or more"),
        ({"calibration.quantiles": [1.0, 0.5]}, "ascending"),
        ({"calibration.transitions": 0}, "transitions is 0; wanted 1 or more, or no calibration"),
        ({"calibration.threshold": float("inf")}, "Infinity is not a JSON number"),
        ({"heads": []}, "heads is list; wanted an object"),
        ({"heads.steps_to_go": None}, "heads.steps_to_go is NoneType; wanted an object"),
        ({"heads.steps_to_go.width": 16}, r"heads.steps_to_go has unknown keys \['width'\]"),
        ({"heads.steps_to_go.type": 3}, "heads.steps_to_go: type is 3; wanted str"),
        ({"heads.world_model": {}}, "a head is called 'world_model'; wanted a-z"),
        ({"heads.Steps": {}}, "a head is called 'Steps'"),
        ({"heads.": {}}, "a head is called ''"),
        ({"heads.\x1b[2J": {}}, r"a head is called '\\x1b\[2J'"),
        ({"parents": {}}, "parents is dict; wanted a list"),
        ({"parents.0": []}, r"parents\[0\] is list; wanted an object"),
        ({"parents.0.weights": "x"}, r"parents\[0\] has unknown keys \['weights'\]"),
        ({"weights.file": "weights.pt"}, "must be 'model.safetensors'"),
        ({"name": "a\x00b"}, r"name is 'a\\x00b'"),
        ({"version": ""}, "must not be empty"),
        ({"training": [1]}, "training is"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(map(ascii, value)),
)
def test_what_is_refused_and_how(change: dict[str, Any], match: str) -> None:
    changed = data()
    for place, value in change.items():
        *parents, key = place.split(".")
        part: Any = changed
        for parent in parents:
            part = part[int(parent) if isinstance(part, list) else parent]
        part[int(key) if isinstance(part, list) else key] = value
    with pytest.raises(CheckpointError, match=match):
        read(changed)


def test_a_manifest_of_format_1_is_refused_by_its_format_and_not_by_its_keys() -> None:
    """The message is about the format, and not about a key that format 2 does not know."""
    old = copy.deepcopy(data())
    for key in ("sensors", "latent", "calibration", "heads", "parents"):
        del old[key]
    old |= {"format": 1, "observation": {"camera": "top"}, "surprise": {"quantiles": [0, 1]}, "steps_to_go": None}
    with pytest.raises(CheckpointError, match=r"^manifest format is 1; this build reads format 2$"):
        read(old)


@pytest.mark.parametrize("text", ["[]", "2", '"format"', "null", "true"])
def test_other_json_is_no_manifest(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"manifest format is '(list|int|str|NoneType|bool)'"):
        Manifest.from_json(text)


def test_nothing_that_is_not_a_number_is_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        manifest(training={"loss": float("nan")}).to_json()


@pytest.mark.parametrize("type_name", ["os.system", "LeWMConfig", "PredictorConfig", None, 3])
def test_a_part_names_its_type_from_a_closed_table(type_name: object) -> None:
    config = config_to_json(RECIPES["lewm"].presets["tiny"]())
    config["encoder"]["type"] = type_name
    with pytest.raises(CheckpointError, match=r"encoder has type .*; known parts are"):
        config_from_json("lewm", config)


def test_configurations_are_complete_and_know_no_more() -> None:
    config = config_to_json(RECIPES["lewm"].presets["tiny"]())
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


@pytest.mark.parametrize("statistic", ["mean", "std"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite_are_refused_before_they_are_written(statistic: str, value: float) -> None:
    with pytest.raises(CheckpointError, match="proprioception wants a finite mean and std > 0"):
        dataclasses.replace(PROPRIOCEPTION, **{statistic: (value,) * 7})


def test_a_manifest_names_each_sensor_once() -> None:
    with pytest.raises(CheckpointError, match=r"sensors are \['top', 'top'\]; wanted one or more"):
        manifest(sensors=(TOP, TOP))


def test_errors_of_a_file_name_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "robot-7"
    folder.mkdir()
    with pytest.raises(CheckpointError, match=r"robot-7 has no manifest\.json; wanted a folder with"):
        read_manifest(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"manifest\.json of robot-7 cannot be used: .* is not JSON"):
        read_manifest(folder)
