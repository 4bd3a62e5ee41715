"""One client's flood leaves the rest to the others: places, bytes, and requests a second."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from server.errors import ServiceError
from server.settings import Settings
from server.transport.access import client_name, credential_of
from server.transport.admission import Admission


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def admission(clock: Clock | None = None, **limits: Any) -> Admission:
    return Admission(Settings(**limits), clock or Clock())


def refused(enter: Any) -> str:
    """The code of the refusal."""
    with pytest.raises(ServiceError) as caught:
        enter()
    assert caught.value.retry_after_ms is not None
    return caught.value.code


def test_a_flood_leaves_places_to_the_others() -> None:
    gate = admission(max_in_flight=8)
    with ExitStack() as open_places:
        for _ in range(6):
            open_places.enter_context(gate.place("greedy"))
        assert refused(lambda: open_places.enter_context(gate.place("greedy"))) == "rate-limited"
        for _ in range(2):
            open_places.enter_context(gate.place("modest"))
    open_places.enter_context(gate.place("greedy"))


def test_streams_are_counted_on_their_own() -> None:
    gate = admission(max_in_flight=1, max_connections=4)
    with ExitStack() as open_places:
        for _ in range(3):
            open_places.enter_context(gate.place("gateway", streams=True))
        assert refused(lambda: open_places.enter_context(gate.place("gateway", streams=True))) == "rate-limited"
        open_places.enter_context(gate.place("gateway"))


def test_bytes_are_shared_and_given_back() -> None:
    gate = admission(max_buffered_bytes=1000, max_body_bytes=800)
    with gate.place("greedy") as first, gate.place("greedy") as second:
        first.resize(700)
        assert refused(lambda: second.resize(51)) == "rate-limited"
        with gate.place("modest") as third:
            third.resize(300)
            assert refused(lambda: third.resize(301)) == "queue-full"
            assert gate.buffered_bytes == 1000
        first.resize(10)
        second.resize(51)
        assert gate.buffered_bytes == 61
    assert gate.buffered_bytes == 0


def test_the_rate_is_kept_over_any_second() -> None:
    clock = Clock()
    gate = admission(clock, max_requests_per_s_per_client=8)
    for _ in range(8):
        gate.spend("quick")
    assert refused(lambda: gate.spend("quick")) == "rate-limited"
    gate.spend("other")
    clock.now += 0.125
    gate.spend("quick")
    assert refused(lambda: gate.spend("quick")) == "rate-limited"
    clock.now += 1000
    for _ in range(8):
        gate.spend("quick")
    assert refused(lambda: gate.spend("quick")) == "rate-limited"


def test_a_client_with_many_names_fills_no_memory() -> None:
    gate = admission()
    with gate.place("busy"):
        for index in range(10_000):
            gate.spend(str(index))
        assert len(gate._clients) <= 4096
        assert "busy" in gate._clients


def test_messages_of_unknown_size_wait_for_room() -> None:
    async def scenario() -> list[str]:
        gate, received = admission(max_body_bytes=100, max_buffered_bytes=200, max_share_per_client=0.5), []
        with gate.place("slow") as slow, gate.place("slow") as waiting, gate.place("other") as other:

            async def receive(place: Any, name: str) -> None:
                async with place.receiving():
                    received.append(name)

            async with slow.receiving():
                second = asyncio.create_task(receive(waiting, "after the slow one"))
                await receive(other, "at once")
                await asyncio.sleep(0)
                received.append("slow")
            await second
        return received

    assert asyncio.run(scenario()) == ["at once", "slow", "after the slow one"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer c", "bearer a", "Bearer a ", "Bearer a,b", "a", "é"]
)
def test_only_a_whole_token_lets_in(header: str) -> None:
    with pytest.raises(ServiceError, match="unauthenticated"):
        credential_of(header, ("a", "b"))


def test_tokens_tell_clients_apart_and_are_not_told() -> None:
    names = {credential_of(f"Bearer {token}", ("secret", "other")) for token in ("secret", "other")}
    assert len(names) == 2 and not any("secret" in name or "other" in name for name in names)
    assert credential_of("anything", ()) == ""


def test_clients_of_one_network_are_one() -> None:
    assert client_name("", "", "2001:db8::1") == client_name("", "", "2001:db8::ffff:2")
    assert client_name("", "", "2001:db8::1") != client_name("", "", "2001:db8:0:1::1")
    assert client_name("", "", "10.0.0.1") != client_name("", "", "10.0.0.2")
    assert len({client_name("token 0", "", "x"), client_name("token 1", "", "x"), client_name("", "arm", "x")}) == 3
