"""Plans say when a picture is unlike what the model was trained on, or stretched: on the first plan too."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from server.errors import ServiceError
from tests.attacks.checkpoint_attacks import change_manifest
from tests.episodes import dot_episode, write_dot_store
from tests.server.live import Live, ask, encoded, plan_payload, serving, settings_for
from tests.tiny import TOP, write_tiny_checkpoint
from worldmodel import EpisodeStore, ObservationBatch, calibrate_on, load_checkpoint, save_novelty

FRAMES = dot_episode(500).frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One calibrated model, and a second one that learned from pictures of 4 : 3 and was not calibrated."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    store = EpisodeStore(write_dot_store(checkpoints.parent / f"{checkpoints.name}-store", episodes=80))
    save_novelty(write_tiny_checkpoint(checkpoints), calibrate_on(store, (TOP,), lambda *_: None))
    wide = write_tiny_checkpoint(checkpoints, "tiny-wide")
    change_manifest(wide, lambda manifest: manifest["sensors"][0].update(aspect_ratio=4 / 3))
    return checkpoints


@pytest.fixture(scope="module")
def calibrated(folder: Path) -> Iterator[Live]:
    with serving(settings_for(folder)) as running:
        yield running


def seen(picture: np.ndarray) -> dict[str, Any]:
    image = Image.fromarray(np.ascontiguousarray(picture))
    return {"images": {"top": {"encoded": encoded(image, "png"), "format": "png"}}}


def payload(now: np.ndarray, goal: np.ndarray = FRAMES[-1], **changes: Any) -> dict[str, Any]:
    asked = {"context": [seen(now)], "action_history": [], "goals": [{"observation": seen(goal)}]}
    return plan_payload(**{**asked, **changes})


def warned(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["code"], each["pointer"]) for each in body["warnings"]]


@pytest.mark.parametrize("transport", ["json", "multipart", "grpc"])
def test_a_first_plan_says_what_is_novel(calibrated: Live, transport: str) -> None:
    body = ask(calibrated, transport)("plan", payload(FRAMES[3][..., ::-1])).body
    assert body["novelty"] > 1 >= body["goal_novelty"]
    assert warned(body) == [("unlike-training", "/context/0/images/top")]
    assert "at most 0.015 of normal readings exceed 1" in body["warnings"][0]["reason"]


def test_a_goal_is_judged_too(calibrated: Live) -> None:
    body = calibrated.json("plan", payload(FRAMES[3], np.zeros_like(FRAMES[3]))).body
    assert body["goal_novelty"] > 1 >= body["novelty"]
    assert warned(body) == [("unlike-training", "/goals/0/observation/images/top")]


def test_normal_pictures_pass_without_a_warning(calibrated: Live) -> None:
    body = calibrated.json("plan", payload(FRAMES[3])).body
    assert body["novelty"] <= 1 and body["goal_novelty"] <= 1 and body["warnings"] == []


def test_a_frame_from_the_cache_has_the_same_novelty(calibrated: Live, folder: Path) -> None:
    first, again = (calibrated.json("plan", payload(FRAMES[5])).body["novelty"] for _ in range(2))
    model = load_checkpoint(folder / "tiny-lewm").novelty
    assert model is not None
    alone = model.of(ObservationBatch({"top": torch.from_numpy(FRAMES[5])[None]}))["top"]
    assert first == again == pytest.approx(float(alone), rel=1e-5)


def test_a_goal_of_latents_has_no_novelty(calibrated: Live) -> None:
    answer = calibrated.json("encode", {"model": {"name": "tiny-lewm"}, "observations": [seen(FRAMES[-1])]}).body
    embedding = {"space_id": answer["space_id"], "latents": {**answer["embeddings"], "shape": [1, 16]}}
    body = calibrated.json("plan", payload(FRAMES[3], goals=[{"embedding": embedding}])).body
    assert body["novelty"] <= 1 and body["goal_novelty"] is None


def test_a_stretched_picture_is_named(calibrated: Live) -> None:
    wide = np.asarray(Image.fromarray(FRAMES[3]).resize((64, 48)))
    body = calibrated.json("plan", payload(wide)).body
    assert ("aspect-changed", "/context/0/images/top") in warned(body)
    assert "64 x 48 px, and the model learned from pictures of equal sides: crop it" in body["warnings"][0]["reason"]


def test_a_model_of_squeezed_pictures_wants_them_so(calibrated: Live) -> None:
    """Recordings of 640 x 480 were squeezed by the import: what looks stretched is right there."""
    wide = np.asarray(Image.fromarray(FRAMES[3]).resize((64, 48)))
    model = {"name": "tiny-wide"}
    assert calibrated.json("plan", payload(wide, wide, model=model)).body["warnings"] == []
    body = calibrated.json("plan", payload(FRAMES[3], wide, model=model)).body
    assert warned(body) == [("aspect-changed", "/context/0/images/top")]
    assert body["novelty"] is None and body["goal_novelty"] is None


def test_a_model_says_how_often_it_alarms(calibrated: Live) -> None:
    rates = {}
    for name in ("tiny-lewm", "tiny-wide"):
        _, _, data = calibrated.http("GET", f"/v1/models/{name}")
        rates[name] = json.loads(data).get("novelty_false_alarm_rate")
    assert rates == {"tiny-lewm": pytest.approx(1 / 65), "tiny-wide": None}


def test_a_link_out_of_the_folder_is_refused(calibrated: Live, folder: Path, tmp_path: Path) -> None:
    novelty = folder / "tiny-lewm" / "novelty.safetensors"
    outside = novelty.rename(tmp_path / "novelty.safetensors")
    novelty.symlink_to(outside)
    try:
        with pytest.raises(ServiceError, match="a link that leads out"):
            calibrated.do(calibrated.running.service.load_model("tiny-lewm"))
    finally:
        novelty.unlink()
        outside.rename(novelty)
