"""What a robot saw, on its way to a model's sensors: what is sent, and what is wrong before it is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from telos import Controller, ControlLoop, Embedding, Goal, Observation, TelosError
from telos.images import encode_image
from tests.telos.test_controller import MODEL_OF_THREE_FRAMES, ScriptedPlanner

TOP = np.full((16, 16, 3), 7, np.uint8)
WRIST = np.full((24, 24, 3), 9, np.uint8)
JOINTS = [0.1, -0.2, 0.03]
CAMERAS: list[dict[str, Any]] = [
    {"name": "wrist", "kind": "camera", "shape": [24, 24, 3]},
    {"name": "top", "kind": "camera", "shape": [16, 16, 3]},
]
VECTOR: dict[str, Any] = {
    **{"name": "joints", "kind": "vector", "shape": [3], "names": ["j1", "j2", "j3"], "units": ["rad"] * 3},
    **{"low": [-3.2] * 3, "high": [3.2] * 3},
}
SEEN = Observation({"wrist": WRIST, "top": TOP}, {"joints": JOINTS})


class ArmPlanner(ScriptedPlanner):
    """Its one model has the sensors that it is made with."""

    def __init__(self, *sensors: dict[str, Any], **changes: Any) -> None:
        super().__init__()
        self.changes = {"sensors": list(sensors)} | changes
        self.listed = 0

    def _list_models(self) -> Sequence[Mapping[str, Any]]:
        self.listed += 1
        return [MODEL_OF_THREE_FRAMES | self.changes]


@pytest.fixture
def arm() -> ArmPlanner:
    return ArmPlanner(*CAMERAS, VECTOR)


def asked(planner: ArmPlanner, seen: Any, goal: Any = SEEN) -> dict[str, Any]:
    planner.plan("m", [seen if not isinstance(seen, Observation) else numbered(seen)], goal)
    return planner.asked[-1]


def numbered(seen: Observation) -> Observation:
    return Observation(seen.images, seen.arrays, 0, seen.capture_time_us, seen.capture_times_us)


def test_every_sensor_is_sent_by_its_name(arm: ArmPlanner) -> None:
    times = {"capture_time_us": 5, "capture_times_us": {"wrist": 4}}
    (frame,) = asked(arm, Observation(SEEN.images, SEEN.arrays, **times))["context"]
    assert frame["images"] == {"wrist": encode_image(WRIST, "png"), "top": encode_image(TOP, "png")}
    np.testing.assert_array_equal(frame["arrays"]["joints"], JOINTS)
    assert frame["arrays"]["joints"].dtype == np.float64
    assert {key: frame[key] for key in frame.keys() - {"images", "arrays"}} == times | {"step": 0}


@pytest.mark.parametrize("image", [TOP, encode_image(TOP, "png")["encoded"], {"top": TOP}, Observation(TOP)])
def test_one_image_is_that_of_the_only_camera(image: Any) -> None:
    planner = ArmPlanner(CAMERAS[1])
    planner.plan("m", [Observation(TOP, step=0)], image)
    (goal,) = planner.asked[-1]["goals"]
    assert goal == {"observation": {"images": {"top": encode_image(TOP, "png")}, "arrays": {}}}


def test_one_camera_may_come_with_vectors() -> None:
    (frame,) = asked(ArmPlanner(CAMERAS[1], VECTOR), Observation(TOP, {"joints": JOINTS}), SEEN_BY_ONE)["context"]
    assert list(frame["images"]) == ["top"] and list(frame["arrays"]) == ["joints"]


SEEN_BY_ONE = Observation(TOP, {"joints": JOINTS})


def test_a_model_may_have_no_camera() -> None:
    (frame,) = asked(
        ArmPlanner(VECTOR), Observation(arrays={"joints": JOINTS}), Observation(arrays={"joints": JOINTS})
    )["context"]
    assert frame["images"] == {}


def test_readings_of_gymnasium_are_images_or_vectors_by_what_they_are() -> None:
    seen = Observation.of_readings({"top": TOP, "joints": np.float32(JOINTS), "depth": np.zeros((4, 4, 3))})
    assert isinstance(seen.images, Mapping)
    assert (list(seen.images), list(seen.arrays)) == (["top"], ["joints", "depth"])


NOTHING: Any = None
PATH: Any = "wrist.png"

WRONG: dict[str, tuple[Any, str]] = {
    "one image of two cameras": (
        TOP,
        "given one image; m has joints, top, wrist: give an Observation with all of them",
    ),
    "a camera is missing": (
        Observation({"top": TOP}, {"joints": JOINTS}),
        "sensors are missing wrist; m wants the images top, wrist and the arrays joints",
    ),
    "a vector is missing": ({"top": TOP, "wrist": WRIST}, "sensors are missing joints"),
    "a camera too many": (
        Observation({"top": TOP, "wrist": WRIST, "front": TOP}, {"joints": JOINTS}),
        "sensors are surplus front",
    ),
    "another vector": (
        Observation(SEEN.images, {"torque": JOINTS}),
        "sensors are missing joints and surplus torque",
    ),
    "too few joints": (
        Observation(SEEN.images, {"joints": JOINTS[:2]}),
        r"sensor joints has shape \[2\]; wanted \[3\]: j1, j2, j3",
    ),
    "joints in words": (
        Observation(SEEN.images, {"joints": ["a", "b", "c"]}),
        r"sensor joints is of type list: could not convert string .*; wanted \[3\]: j1, j2, j3",
    ),
    "no joints": (Observation(SEEN.images, {"joints": NOTHING}), r"sensor joints is None; wanted \[3\]: j1, j2, j3"),
    "no vectors": (Observation(SEEN.images, NOTHING), "arrays is None; wanted a dictionary of readings by sensor name"),
    "nothing": (None, "given None; m has joints, top, wrist: give an Observation with all of them"),
    "no frame": (
        Observation({"top": TOP, "wrist": NOTHING}, {"joints": JOINTS}),
        r"camera wrist: image is None; wanted a uint8 array \[height, width, 3\]",
    ),
    "a path": (
        Observation({"top": TOP, "wrist": PATH}, {"joints": JOINTS}),
        "camera wrist: image is the text 'wrist.png'; wanted a uint8 array",
    ),
    "a picture in floats": (
        Observation({"top": TOP, "wrist": np.zeros((4, 4))}, {"joints": JOINTS}),
        r"camera wrist: image is a float64 array \[4, 4\]; wanted a uint8 array",
    ),
    "another file": (
        Observation({"top": TOP, "wrist": b"GIF89a"}, {"joints": JOINTS}),
        "camera wrist: the bytes do not start like a JPEG, PNG or WebP file",
    ),
}
WRONG_PLACES = {"context": r"context\[0\]", "goal": r"goal\[1\]", "encode": r"observations\[1\]"}
WRONG_PLACES["anomaly"] = WRONG_PLACES["encode"]


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("where", WRONG_PLACES)
def test_what_is_wrong_is_named_before_anything_is_sent(arm: ArmPlanner, case: str, where: str) -> None:
    seen, words = WRONG[case]
    ask = {
        "context": lambda: arm.plan("m", [seen], SEEN),
        "goal": lambda: arm.plan("m", [SEEN], [Goal(SEEN), Goal(seen)]),
        "encode": lambda: arm.encode("m", [SEEN, seen]),
        "anomaly": lambda: arm.anomaly("m", [SEEN, seen], [np.zeros((2, 2))]),
    }[where]
    with pytest.raises(ValueError, match=f"^{WRONG_PLACES[where]}: {words}"):
        ask()
    assert arm.asked == []


@pytest.mark.parametrize("case", [case for case in WRONG if case != "nothing"])  # `act` may be given no frame
def test_a_robot_learns_at_once_what_is_wrong(arm: ArmPlanner, case: str) -> None:
    """On its own thread, not on the one that plans."""
    seen, words = WRONG[case]
    with pytest.raises(ValueError, match=f"^observation: {words}"):
        Controller(arm, model="m", goal=SEEN).observe(seen)
    with ControlLoop(arm, model="m", goal=SEEN) as loop, pytest.raises(ValueError, match=words):
        loop.act(seen)
    assert arm.asked == []


def test_no_frame_and_a_wrong_goal_are_told_apart(arm: ArmPlanner) -> None:
    controller = Controller(arm, model="m", goal=NOTHING)
    with pytest.raises(ValueError, match=r"^observation: given None"):
        controller.plan(NOTHING)
    with pytest.raises(ValueError, match=r"^goal: given None"):
        controller.plan(SEEN)
    assert arm.asked == []


@pytest.mark.parametrize(
    ("context", "goal", "words"),
    [
        (None, SEEN, "context is None; wanted a list of observations, oldest first"),
        (SEEN, SEEN, "context is of type Observation; wanted a list"),
        (TOP, SEEN, r"context is a uint8 array \[16, 16, 3\]; wanted a list"),
        ([SEEN], [SEEN], r"goal\[0\]: given Observation; wanted a Goal: several goals are a list of Goal"),
    ],
)
def test_a_list_is_wanted_of_frames_and_of_goals(arm: ArmPlanner, context: Any, goal: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        arm.plan("m", context, goal)
    assert arm.asked == []


def test_a_controller_counts_the_steps_itself(arm: ArmPlanner) -> None:
    controller = Controller(arm, model="m", goal=SEEN)
    controller.plan(SEEN)
    controller.executed(np.zeros((2, 2)))
    controller.plan(Observation(SEEN.images, SEEN.arrays, step=2))
    assert arm.steps == [0, 2]
    assert all(list(frame["images"]) == ["wrist", "top"] for frame in arm.asked[-1]["context"])
    with pytest.raises(ValueError, match="of step 5, and 2 were executed"):
        controller.observe(Observation(SEEN.images, SEEN.arrays, step=5))


def test_sensors_may_write_into_the_same_memory_again(arm: ArmPlanner) -> None:
    controller = Controller(arm, model="m", goal=SEEN)
    wrist, joints = WRIST.copy(), np.array(JOINTS)
    controller.observe(Observation({"wrist": wrist, "top": TOP}, {"joints": joints}))
    wrist[:] = 0
    joints[:] = 0
    controller.executed(np.zeros((2, 2)))
    controller.plan(SEEN)
    first, second = arm.asked[-1]["context"]
    assert first["images"] == second["images"]
    np.testing.assert_array_equal(first["arrays"]["joints"], JOINTS)


def test_a_goal_has_no_time(arm: ArmPlanner) -> None:
    timed = Observation(SEEN.images, SEEN.arrays, 3, 1, {"top": 1})
    latents = Embedding(space_id="s", latents=np.zeros((1, 1)))
    goals = asked(arm, SEEN, [Goal(timed, tolerance=0.1), Goal(latents, weight=2.0)])["goals"]
    assert goals[0]["observation"].keys() == {"images", "arrays"} and goals[0]["tolerance"] == 0.1
    assert goals[1].keys() == {"embedding", "weight"}


def test_a_model_without_actions_encodes_and_drives_nothing() -> None:
    planner = ArmPlanner(*CAMERAS, VECTOR, action=None, context_frames=None, horizon=None, surprise_threshold=None)
    assert planner.model("m").action is None and planner.model("m").presets == ()
    for make in (Controller, ControlLoop):
        with pytest.raises(TelosError, match="no-actions: m only encodes and cannot plan"):
            make(planner, model="m", goal=SEEN)


def test_a_models_sensors_are_asked_for_once(arm: ArmPlanner) -> None:
    for _ in range(3):
        asked(arm, SEEN)
    assert arm.listed == 1
