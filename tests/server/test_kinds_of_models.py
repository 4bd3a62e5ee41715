"""Models that only encode, that were not calibrated, and that see with several sensors."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.server.live import Live, actions_of, ask, picture, serving, settings_for
from tests.tiny import (
    PROPRIOCEPTION,
    write_tiny_checkpoint,
    write_tiny_encoder_checkpoint,
    write_tiny_sensors_checkpoint,
)

NAMES = ("tiny-encoder", "tiny-uncalibrated", "tiny-sensors")


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("kinds")
    write_tiny_encoder_checkpoint(folder)
    write_tiny_checkpoint(folder, "tiny-uncalibrated", calibration=None)
    write_tiny_sensors_checkpoint(folder)
    with serving(settings_for(folder)) as running:
        yield running


def seen(seed: int, **changes: Any) -> dict[str, Any]:
    """What all sensors of `tiny-sensors` give."""
    arrays = {"proprioception": np.full(7, 0.01 * (seed % 10))}
    return {"images": {"top": picture(seed), "wrist": picture(seed + 50)}, "arrays": arrays} | changes


def payload(model: str, **changes: Any) -> dict[str, Any]:
    observe = seen if model == "tiny-sensors" else lambda seed: {"images": {"top": picture(seed)}}
    return {
        "model": {"name": model},
        "context": [observe(1)],
        "goals": [{"observation": observe(2)}],
        "planner": {"preset": "fast", "seed": 1},
    } | changes


def info(kinds: Live, name: str) -> dict[str, Any]:
    models = json.loads(kinds.http("GET", "/v1/models")[2])["models"]
    return next(model for model in models if model["name"] == name)


def test_every_kind_is_warmed_up(kinds: Live) -> None:
    assert [info(kinds, name)["ready"] for name in NAMES] == [True] * 3


class TestEncoder:
    def test_it_says_that_it_plans_nothing(self, kinds: Live) -> None:
        said = info(kinds, "tiny-encoder")
        assert said["presets"] == [] and said["latent_shape"] == [1, 16]
        assert said.get("horizon") is said.get("context_frames") is said.get("surprise_threshold") is None

    @pytest.mark.parametrize("transport", ["json", "grpc"])
    def test_it_encodes(self, kinds: Live, transport: str) -> None:
        observations = [{"images": {"top": picture(1)}}]
        body = ask(kinds, transport)("encode", {"model": {"name": "tiny-encoder"}, "observations": observations}).body
        assert list(body["embeddings"]["shape"]) == [1, 1, 16]

    def test_it_refuses_to_plan_and_says_what_it_can_do(self, kinds: Live) -> None:
        answer = kinds.json("plan", payload("tiny-encoder"))
        assert (answer.code, answer.pointers) == ("validation-failed", ("/model/name",))
        assert "only encodes" in answer.text and "/v1/encode" in answer.text

    def test_it_refuses_to_be_surprised(self, kinds: Live) -> None:
        clip = [{"images": {"top": picture(seed)}} for seed in (1, 2)]
        answer = kinds.json(
            "anomaly", {"model": {"name": "tiny-encoder"}, "observations": clip, "actions": [np.zeros((5, 2))]}
        )
        assert (answer.code, answer.pointers) == ("validation-failed", ("/model/name",))


class TestUncalibrated:
    def test_it_plans_and_reports_its_surprise(self, kinds: Live) -> None:
        frames = [{"images": {"top": picture(seed)}} for seed in (1, 2)]
        body = kinds.json("plan", payload("tiny-uncalibrated", context=frames, action_history=[np.zeros((5, 2))])).body
        assert body["surprise"] > 0 and info(kinds, "tiny-uncalibrated").get("surprise_threshold") is None

    def test_it_has_no_threshold_to_be_held_against(self, kinds: Live) -> None:
        clip = [{"images": {"top": picture(seed)}} for seed in (1, 2)]
        asked = {"model": {"name": "tiny-uncalibrated"}, "observations": clip, "actions": [np.zeros((5, 2))]}
        for answer, pointer in (
            (kinds.json("anomaly", asked), "/model/name"),
            (kinds.json("plan", payload("tiny-uncalibrated", hold_on_surprise=True)), "/hold_on_surprise"),
        ):
            assert (answer.code, answer.pointers) == ("validation-failed", (pointer,))
            assert "was not calibrated" in answer.text


class TestSensors:
    @pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
    def test_every_transport_plans_from_all_of_them(self, kinds: Live, transport: str) -> None:
        body = ask(kinds, transport)("plan", payload("tiny-sensors", include=["latents"])).body
        assert actions_of(body).shape == (25, 2) and list(body["latents"]["shape"]) == [5, 3, 16]

    @pytest.mark.parametrize("sensor", ["top", "wrist", "proprioception"])
    def test_each_of_them_decides(self, kinds: Live, sensor: str) -> None:
        other = seen(9)
        changed = seen(1)
        for kind in ("images", "arrays"):
            changed[kind] = {
                name: other[kind][name] if name == sensor else value for name, value in changed[kind].items()
            }
        one, another = (
            kinds.json("plan", payload("tiny-sensors", context=[frame])).body for frame in (seen(1), changed)
        )
        assert one["goal_distance"] != another["goal_distance"]

    @pytest.mark.parametrize(
        ("frame", "pointer"),
        [
            (seen(1, arrays={}), "/context/0/arrays/proprioception"),
            (seen(1, images={"top": picture(1)}), "/context/0/images/wrist"),
            (seen(1, arrays={"proprioception": np.full(7, 99.0)}), "/context/0/arrays/proprioception"),
            (seen(1, arrays={"proprioception": np.zeros(6)}), "/context/0/arrays/proprioception"),
            (
                seen(1, capture_time_us=0, capture_times_us={"wrist": 100_001}),
                "/context/0/capture_times_us/wrist",
            ),
        ],
        ids=["missing vector", "missing camera", "out of range", "another shape", "stale"],
    )
    def test_a_wrong_one_is_refused_by_name(self, kinds: Live, frame: dict[str, Any], pointer: str) -> None:
        answer = kinds.json("plan", payload("tiny-sensors", context=[frame]))
        assert answer.code in ("validation-failed", "observation-stale") and answer.pointers == (pointer,)

    def test_a_frame_is_encoded_once_and_known_by_all_its_sensors(
        self, kinds: Live, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        encoder = kinds.running.service.engine.registry.models["tiny-sensors"].checkpoint.encoder
        encode, encoded = encoder.encode, []

        def counting(observation: Any) -> Any:
            encoded.append(observation.values["proprioception"][0])
            return encode(observation)

        monkeypatch.setattr(encoder, "encode", counting)
        still, moved = seen(70), seen(70, arrays={"proprioception": np.full(7, 0.05)})
        for frame in (still, still, moved, still):
            kinds.json("plan", payload("tiny-sensors", context=[frame], goals=[{"observation": seen(71)}]))
        assert len(encoded) == 3, "the goal, and two frames that differ in the vector alone"
        assert torch.allclose(encoded[-1], torch.full((7,), 0.05))

    def test_the_model_says_which_they_are(self, kinds: Live) -> None:
        said = {sensor["name"]: sensor for sensor in info(kinds, "tiny-sensors")["sensors"]}
        assert list(said) == ["top", "wrist", "proprioception"]
        assert said["top"]["shape"] == [32, 32, 3]
        assert tuple(said["proprioception"]["units"]) == PROPRIOCEPTION.units


def test_a_policys_and_an_encoders_checkpoint_load_while_others_are_served(kinds: Live, tmp_path: Path) -> None:
    """`load` warms up each kind; a model that cannot be warmed up would be refused."""
    folder = kinds.running.service.engine._settings.checkpoints
    write_tiny_encoder_checkpoint(folder, "another-encoder")
    loaded = kinds.do(kinds.running.service.load_model("another-encoder"))
    assert loaded.ready and loaded.presets == []
    kinds.do(kinds.running.service.unload_model("another-encoder"))
