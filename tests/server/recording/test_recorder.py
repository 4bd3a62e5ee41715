"""What is on disk after plans were recorded, and that a disk never gets in a robot's way."""

import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from mcap.reader import make_reader
from mcap.records import Schema

from server import schemas
from server.recording import recorder as recorder_module
from server.recording.mcap_file import PlanFile, PlanFileError, read_plans
from server.recording.recorder import PATTERN, Recorder, RecordingLimits
from server.settings import SettingsError
from server.validation import validate
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from telos.wire.tensors import unpack
from tests.server.live import Live, picture, plan_payload
from tests.server.sensors_engine import arm_plan, readings, seen
from tests.waiting import wait_until

AMPLE = RecordingLimits(file_bytes=2**28, folder_bytes=2**32, waiting_bytes=2**26)


@dataclass(frozen=True)
class Plan:
    """One that a server made, as often as a test wants it."""

    request: schemas.PlanRequest
    response: schemas.PlanResponse

    def answered(self, request_id: str) -> schemas.PlanResponse:
        return self.response.model_copy(update={"request_id": request_id})


@pytest.fixture(scope="module")
def plan(live: Live) -> Plan:
    request = validate(schemas.PlanRequest, plan_payload())
    response = live.do(live.running.service.plan(request))
    timing = response.timing.model_copy(update={"total_us": 20_000})
    return Plan(request, response.model_copy(update={"timing": timing}))


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(PATTERN))


def counting(folder: Path, limits: RecordingLimits, counts: Counter[str]) -> Recorder:
    return Recorder(
        folder, limits, written=lambda: counts.update(["written"]), dropped=lambda why: counts.update([why])
    )


def record(folder: Path, plan: Plan, count: int, limits: RecordingLimits = AMPLE) -> Counter[str]:
    counts: Counter[str] = Counter()
    recorder = counting(folder, limits, counts)
    for index in range(count):
        recorder.plan(plan.request, plan.answered(f"r-{index}"))
    recorder.close()
    return counts


def test_plans_come_back_as_they_were(tmp_path: Path, plan: Plan) -> None:
    assert record(tmp_path, plan, 3) == {"written": 3}
    (file,) = files(tmp_path)
    plans = list(read_plans(file))
    assert [reply.request_id for _, reply in plans] == ["r-0", "r-1", "r-2"]
    for asked, reply in plans:
        assert asked == to_message(pb.PlanRequest, plan.request.model_dump())
        assert reply == to_message(pb.PlanResponse, plan.answered(reply.request_id).model_dump())


def test_any_mcap_tool_can_read_it(tmp_path: Path, plan: Plan) -> None:
    """With nothing but the file: schemas, times, and pictures that Foxglove knows how to show."""
    record(tmp_path, plan, 1)
    with files(tmp_path)[0].open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True)
        summary = reader.get_summary()
        assert summary is not None and summary.statistics is not None
        topics = {channel.topic: summary.schemas[channel.schema_id] for channel in summary.channels.values()}
        messages = {channel.topic: message for _, channel, message in reader.iter_messages()}
    assert {topic: schema.name for topic, schema in topics.items()} == {
        "/plan/request": "telos.v1.PlanRequest",
        "/plan/reply": "telos.v1.PlanResponse",
        "/camera/top": "foxglove.CompressedImage",
        "/goal/0/top": "foxglove.CompressedImage",
    }
    decoded = {topic: decode(schema, messages[topic].data) for topic, schema in topics.items()}
    assert decoded["/camera/top"].data == picture(2)["encoded"] and decoded["/camera/top"].format == "png"  # the newest
    assert decoded["/goal/0/top"].data == picture(3)["encoded"]
    assert decoded["/plan/request"].model.name == "tiny-lewm"
    asked, answered = messages["/plan/request"].log_time, messages["/plan/reply"].log_time
    assert answered - asked == 20_000_000
    assert abs(time.time_ns() - answered) < 60e9


def decode(schema: Schema, data: bytes) -> Any:
    """With the definitions that the file brings along."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(schema.data).file:
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(schema.name)).FromString(data)


def test_a_recording_that_was_cut_off_is_read_up_to_there(tmp_path: Path, plan: Plan) -> None:
    record(tmp_path, plan, 5)
    (file,) = files(tmp_path)
    whole = file.read_bytes()
    counts = set()
    for cut in range(0, len(whole), len(whole) // 37):
        file.write_bytes(whole[:cut])
        counts.add(len(list(read_plans(file))))
    assert counts == {0, 5}  # one chunk: all or nothing


@pytest.mark.parametrize("data", [b"what is this", b"\x89MCAP0\r\n" + b"\xff" * 100])
def test_another_file_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "holiday.mcap"
    path.write_bytes(data)
    with pytest.raises(PlanFileError, match=r"holiday\.mcap"):
        list(read_plans(path))


def test_a_file_that_is_full_is_followed_by_another(tmp_path: Path, plan: Plan) -> None:
    one_plan = sum(len(picture(seed)["encoded"]) for seed in (1, 2, 3))
    limits = RecordingLimits(file_bytes=1, folder_bytes=2**30, waiting_bytes=2**26)
    recorder = Recorder(tmp_path, limits)
    for index in range(3):
        recorder.plan(plan.request, plan.answered(f"r-{index}"))
        wait_until(partial(begun, tmp_path, index + 1, one_plan))
    recorder.close()
    replies = [reply.request_id for file in files(tmp_path) for _, reply in read_plans(file)]
    assert replies == ["r-0", "r-1", "r-2"]


def begun(folder: Path, count: int, size: int) -> bool:
    """Whether so many files are there, the newest with a plan in it."""
    return len(files(folder)) == count and files(folder)[-1].stat().st_size > size


def test_the_folder_stays_below_its_limit_and_keeps_the_newest(tmp_path: Path, plan: Plan) -> None:
    stranger = tmp_path / "mine.mcap"
    stranger.write_bytes(bytes(10_000))
    for age in range(5):
        old = tmp_path / f"telos-2020010{age + 1}T000000.000000Z.mcap"
        old.write_bytes(bytes(1000))
    record(tmp_path, plan, 1, RecordingLimits(file_bytes=2**16, folder_bytes=2**16 + 2500, waiting_bytes=2**26))
    assert [file.name[:14] for file in files(tmp_path)[:2]] == ["telos-20200104", "telos-20200105"]
    assert len(files(tmp_path)) == 3 and len(list(read_plans(files(tmp_path)[-1]))) == 1
    assert stranger.exists()


def test_a_slow_disk_costs_recordings_not_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    stuck = threading.Event()
    add = PlanFile.add
    monkeypatch.setattr(PlanFile, "add", lambda self, *parts: (stuck.wait(20), add(self, *parts)))
    counts: Counter[str] = Counter()
    one_plan = sum(len(picture(seed)["encoded"]) for seed in (1, 2, 3))
    limits = RecordingLimits(file_bytes=2**28, folder_bytes=2**32, waiting_bytes=10 * one_plan)
    recorder = counting(tmp_path, limits, counts)
    recorder.plan(plan.request, plan.response)
    wait_until(lambda: files(tmp_path))
    began = time.monotonic()
    for _ in range(1000):
        recorder.plan(plan.request, plan.response)
    assert (time.monotonic() - began) / 1000 < 0.001
    assert counts == {"busy": 990}
    stuck.set()
    recorder.close()
    assert counts == {"busy": 990, "written": 11}


def test_what_vectors_gave_is_kept_and_counted_too(tmp_path: Path, plan: Plan) -> None:
    request = validate(schemas.PlanRequest, arm_plan())
    vectors = 3 * readings(1).nbytes
    pictures = sum(len(image["encoded"]) for seed in (1, 2, 3) for image in seen(seed)["images"].values())
    counts: Counter[str] = Counter()
    for name, waiting_bytes in (("enough", vectors + pictures), ("too little", vectors + pictures - 1)):
        recorder = counting(
            tmp_path / name, RecordingLimits(file_bytes=2**28, folder_bytes=2**32, waiting_bytes=waiting_bytes), counts
        )
        recorder.plan(request, plan.response)
        recorder.close()
    assert counts == {"written": 1, "busy": 1}
    ((asked, _),) = read_plans(files(tmp_path / "enough")[0])
    assert asked == to_message(pb.PlanRequest, request.model_dump())
    np.testing.assert_array_equal(unpack(to_payload(asked.context[0].arrays["proprioception"])), readings(1))


def test_a_full_disk_is_counted_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan) -> None:
    full = True
    add = PlanFile.add

    def write(self: PlanFile, *parts: object) -> None:
        if full:
            raise OSError(28, "No space left on device")
        add(self, *parts)  # type: ignore[arg-type]

    monkeypatch.setattr(PlanFile, "add", write)
    monkeypatch.setattr(recorder_module, "RETRY_AFTER_S", 0.2)
    counts: Counter[str] = Counter()
    recorder = counting(tmp_path, AMPLE, counts)
    recorder.plan(plan.request, plan.response)
    wait_until(lambda: counts["disk"] == 1)
    recorder.plan(plan.request, plan.response)  # too soon to try again
    wait_until(lambda: counts["disk"] == 2)
    full = False
    time.sleep(0.2)
    recorder.plan(plan.request, plan.response)
    recorder.close()
    assert counts == {"disk": 2, "written": 1}


def test_a_quiet_moment_puts_everything_on_disk(tmp_path: Path, plan: Plan) -> None:
    """A server that is killed then loses the last second, no more."""
    recorder = Recorder(tmp_path, AMPLE)
    recorder.plan(plan.request, plan.response)
    wait_until(lambda: files(tmp_path) and list(read_plans(files(tmp_path)[0])))
    recorder.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="record="):
        Recorder(tmp_path / "file", AMPLE)
