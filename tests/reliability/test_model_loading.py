"""Models come and go while robots plan: a bad one changes nothing, a good one fails nobody."""

import gc
import json
import os
import pickle
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load, save

from server.engine import registry
from server.errors import ServiceError
from server.service import Service
from tests.attacks.checkpoint_attacks import BIAS, Bomb, change_weights, flip_one_bit, set_at, weights_with_right_hash
from tests.reliability.report import Measure
from tests.server.live import MODEL, Live, plan_payload, serving, settings_for
from tests.server.test_serve import free_port
from tests.tiny import write_tiny_checkpoint

TRUNCATIONS = 50


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoints folder of this test alone."""
    write_tiny_checkpoint(tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


@pytest.fixture
def live(folder: Path) -> Iterator[Live]:
    with serving(settings_for(folder)) as running:
        yield running


def service(live: Live) -> Service:
    return live.running.service


def refusal(live: Live, name: str) -> str:
    """Why a model was not loaded; what was served before is served still."""
    before = service(live).models()
    with pytest.raises(ServiceError) as caught:
        live.do(service(live).load_model(name))
    assert caught.value.code == "model-refused"
    assert service(live).models() == before
    answer = live.json("plan", plan_payload())
    assert not answer.code and answer.body["provenance"]["weights_sha256"] == before.models[0].weights_sha256
    return caught.value.detail


def other_version(folder: Path, seed: int = 1, version: str = "2") -> None:
    """Other weights in the place of those that are served."""
    torch.manual_seed(seed)
    set_at("version", to=version)(folder / MODEL)
    change_weights(folder / MODEL, lambda tensors: tensors[BIAS].add_(torch.randn(16) * 0.1))


def lead_out(folder: Path) -> None:
    outside = folder.parent.parent / "outside.safetensors"
    shutil.move(folder / "model.safetensors", outside)
    (folder / "model.safetensors").symlink_to(outside)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bit flipped": (flip_one_bit, "SHA-256"),
    "wrong hash": (set_at("weights", "sha256", to="0" * 64), "SHA-256"),
    "wrong shape": (lambda f: change_weights(f, lambda t: t.update({BIAS: torch.zeros(17)})), BIAS),
    "key missing": (lambda f: change_weights(f, lambda t: t.pop(BIAS)), BIAS),
    "weight not a number": (lambda f: change_weights(f, lambda t: t[BIAS].fill_(torch.nan)), "not finite"),
    "plans that are not finite": (lambda f: change_weights(f, lambda t: t[BIAS].fill_(3e38)), "does not work"),
    "pickle by another name": (lambda f: weights_with_right_hash(f, pickle.dumps(Bomb(f))), "not a safetensors"),
    "weights missing": (lambda f: (f / "model.safetensors").unlink(), "no model.safetensors"),
    "manifest missing": (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
    "link that leads out": (lead_out, "leads out"),
}


@pytest.mark.reliability(14)
@pytest.mark.parametrize("attack", BAD)
def test_a_bad_checkpoint_is_refused_with_the_reason(attack: str, live: Live, folder: Path) -> None:
    spoil, reason = BAD[attack]
    spoil(folder / MODEL)
    detail = refusal(live, MODEL)
    assert reason in detail and str(folder.parent) not in detail, detail


@pytest.mark.reliability(14)
def test_truncated_anywhere(live: Live, folder: Path, measure: Measure) -> None:
    weights = folder / MODEL / "model.safetensors"
    whole = weights.read_bytes()
    served = 0
    for cut in range(TRUNCATIONS):
        weights.write_bytes(whole[: cut * len(whole) // TRUNCATIONS])
        try:
            live.do(service(live).load_model(MODEL))
            served += 1
        except ServiceError as error:
            assert error.code == "model-refused"
    measure(f"truncated checkpoints served, of {TRUNCATIONS}", served, at_most=0)
    assert not live.json("plan", plan_payload()).code


@pytest.mark.reliability(14)
@pytest.mark.parametrize("name", ["..", ".", "../tiny-lewm", "/etc", "a/b", "", "a\0b", "x" * 200, "nothing-there"])
def test_only_folders_of_the_checkpoints_folder_can_be_named(name: str, live: Live) -> None:
    refusal(live, name)


@pytest.mark.reliability(14)
def test_a_file_that_is_replaced_while_it_is_read(live: Live, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of another version under the manifest that was read a moment before."""
    read = registry.load_checkpoint

    def swapped(path: Path, *rest: Any) -> Any:
        tensors = load((path / "model.safetensors").read_bytes())
        tensors[BIAS].add_(1)
        (path / "model.safetensors").write_bytes(save(tensors))
        return read(path, *rest)

    monkeypatch.setattr(registry, "load_checkpoint", swapped)
    assert "SHA-256" in refusal(live, MODEL)


@pytest.mark.reliability(14)
def test_the_checkpoint_is_truncated_under_a_server_that_has_loaded_it(live: Live, folder: Path) -> None:
    """A mapped file would end the process with SIGBUS."""
    os.truncate(folder / MODEL / "model.safetensors", 100)
    for seed in range(3):
        assert not live.json("plan", plan_payload(planner={"preset": "fast", "seed": seed})).code


def test_a_new_version_takes_the_place_of_its_name(live: Live, folder: Path) -> None:
    before = live.json("plan", plan_payload()).body
    other_version(folder)
    model = live.do(service(live).load_model(MODEL))
    after = live.json("plan", plan_payload()).body
    assert (model.version, after["provenance"]["model_version"]) == ("2", "2")
    assert after["provenance"]["weights_sha256"] == model.weights_sha256 != before["provenance"]["weights_sha256"]


def test_a_second_model_an_alias_and_an_end(live: Live, folder: Path) -> None:
    write_tiny_checkpoint(folder, "second")
    live.do(service(live).load_model("second"))
    service(live).alias_model("second", "arm")
    answer = live.json("plan", plan_payload(model={"name": "arm"}))
    assert answer.body["provenance"]["model_name"] == "second"
    assert live.grpc("plan", plan_payload(model={"name": "arm"})).body["provenance"]["model_name"] == "second"
    with pytest.raises(ServiceError, match="stands for"):
        live.do(service(live).unload_model("second"))
    service(live).alias_model(MODEL, "arm")
    live.do(service(live).unload_model("second"))
    assert live.json("plan", plan_payload(model={"name": "second"})).code == "model-not-found"
    assert live.json("plan", plan_payload(model={"name": "arm"})).body["provenance"]["model_name"] == MODEL
    for taken in (lambda: service(live).alias_model(MODEL, MODEL), lambda: service(live).alias_model("second", "x")):
        with pytest.raises(ServiceError):
            taken()


def test_a_model_that_was_replaced_is_let_go(live: Live, folder: Path) -> None:
    """Nothing that is learned while planning may keep it: a large model each time, until memory is full."""
    before, gradients = models_in_memory(), {"algorithm": "gradient_descent", "max_iterations": 2}
    for seed in range(3):
        assert live.json("plan", plan_payload()).code == ""
        assert live.json("plan", plan_payload(planner=gradients)).code == ""
        other_version(folder, seed, version=str(seed + 2))
        live.do(service(live).load_model(MODEL))
    assert models_in_memory() == before


def models_in_memory() -> int:
    gc.collect()
    return sum(type(each) is registry.ServedModel for each in gc.get_objects())


def test_the_operator_has_a_door_of_its_own(folder: Path) -> None:
    port = free_port()
    with serving(settings_for(folder, admin_port=port, token="secret")) as live:
        plain = live.running.http_port

        def post(to: int, path: str, body: bytes = b"", token: str = "secret") -> tuple[int, Any]:
            live.running.http_port = to
            try:
                status, _, data = live.http("POST", path, body, {"Authorization": f"Bearer {token}"})
            finally:
                live.running.http_port = plain
            return status, json.loads(data)

        assert post(port, f"/v1/models/{MODEL}/load", token="wrong")[0] == 401
        status, model = post(port, f"/v1/models/{MODEL}/load")
        assert (status, model["name"]) == (200, MODEL)
        assert post(port, f"/v1/models/{MODEL}/alias", b'{"alias": "arm"}')[0] == 200
        assert post(port, f"/v1/models/{MODEL}/alias", b'{"alias": "not a name"}')[1]["code"] == "validation-failed"
        status, problem = post(port, "/v1/models/nothing/load")
        assert (status, problem["code"]) == (409, "model-refused")
        for action in ("load", "unload", "alias"):
            assert post(plain, f"/v1/models/{MODEL}/{action}", b"{}")[0] in (404, 405)


def swap_under_load(folder: Path, live: Live, swaps: int) -> tuple[Counter[str], set[str], float]:
    """Codes of the answers, weights that answered, and how much memory this process has more after than before."""
    versions = [{file.name: file.read_bytes() for file in (folder / MODEL).iterdir()}]
    other_version(folder)
    versions.append({file.name: file.read_bytes() for file in (folder / MODEL).iterdir()})
    codes: Counter[str] = Counter()
    weights: set[str] = set()
    stop = threading.Event()

    def robot(transport: Callable[..., Any]) -> None:
        while not stop.is_set():
            answer = transport("plan", plan_payload(planner={"preset": "fast"}))
            codes[answer.code] += 1
            weights.add(answer.body["provenance"]["weights_sha256"] if answer.body else "")
            time.sleep(0.02)

    robots = [threading.Thread(target=robot, args=(transport,)) for transport in (live.json, live.grpc)]
    for thread in robots:
        thread.start()
    before = 0
    for swap in range(swaps + swaps // 5):
        for name, data in versions[swap % 2].items():
            (folder / MODEL / name).write_bytes(data)
        live.do(service(live).load_model(MODEL))
        if swap == swaps // 5:
            before = psutil.Process().memory_info().rss  # after the first ones: allocators have what they want
    growth = psutil.Process().memory_info().rss / before - 1
    stop.set()
    for thread in robots:
        thread.join()
    return codes, weights, growth


@pytest.mark.reliability(15)
@pytest.mark.parametrize("swaps", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_swapped_under_load(swaps: int, live: Live, folder: Path, measure: Measure) -> None:
    first = service(live).models().models[0].weights_sha256
    codes, weights, growth = swap_under_load(folder, live, swaps)
    second = json.loads((folder / MODEL / "manifest.json").read_text())["weights"]["sha256"]
    measure(f"failed requests in {swaps} swaps", sum(codes.values()) - codes[""], at_most=0, unit="requests")
    measure(f"answers in {swaps} swaps", codes[""], at_least=swaps, unit="requests")
    assert len(weights) == 2 and {first, second} & weights, weights
    if swaps >= 200:
        measure(f"growth of resident memory in {swaps} swaps", growth, at_most=0.05)
