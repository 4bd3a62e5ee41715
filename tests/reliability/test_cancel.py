"""Who goes away costs no more than the iteration under way."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from server.engine.host import HEARTBEAT_S
from server.engine.process import EngineProcess
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message
from tests.reliability.report import Measure
from tests.server.live import Live, plan_payload, serving, settings_for, to_json
from tests.server.test_plans import HEAVY

pytestmark = [pytest.mark.reliability(9), pytest.mark.alone]


@pytest.fixture(scope="module")
def live(checkpoints: Path) -> Iterator[Live]:
    settings = settings_for(checkpoints)
    with serving(settings, EngineProcess(settings)) as running:
        yield running


def close_http(live: Live, after_s: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", live.running.http_port)
    body = json.dumps(plan_payload(planner=HEAVY), default=to_json)
    connection.request("POST", "/v1/plan", body, {"Content-Type": "application/json"})
    live.wait_until_busy()
    time.sleep(after_s)
    connection.close()


def cancel_grpc(live: Live, after_s: float) -> None:
    message = to_message(pb.PlanRequest, plan_payload(planner=HEAVY)).SerializeToString()
    with grpc.insecure_channel(f"127.0.0.1:{live.running.grpc_port}") as channel:
        call = channel.unary_unary("/telos.v1.Planner/Plan").future(message)
        live.wait_until_busy()
        time.sleep(after_s)
        call.cancel()


@pytest.mark.parametrize("leave", [close_http, cancel_grpc])
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.1, 0.5])
def test_nothing_is_computed_for_who_went_away(
    live: Live, measure: Measure, leave: Callable[[Live, float], None], after_s: float
) -> None:
    engine = live.running.service.engine
    leave(live, after_s)
    left = time.monotonic()
    time.sleep(2 * HEARTBEAT_S)  # what the engine says from now on, it says of what is after
    while live.running.service.in_flight or engine.pulse.calls or engine.pulse.step_s:
        assert time.monotonic() - left < 20
        time.sleep(0.01)
    name = f"idle again after {leave.__name__.replace('_', ' ')}, {after_s:g} s into a plan of ten seconds"
    measure(name, time.monotonic() - left, at_most=3.0, unit="s")
    assert engine.starts == 1
    assert live.json("plan", plan_payload()).code == ""
