"""One plan, however it is asked for (23): REST = gRPC = this process, to the bit; JPEG costs little."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server import schemas
from server.validation import validate
from tests.golden.requests import NUMBER, golden_request
from tests.reliability.report import Measure
from tests.server.live import Answer, Live, actions_of, ask, plan_payload
from tests.server.transport.test_parity import comparable

pytestmark = pytest.mark.reliability(23)

TRANSPORTS = ("json", "multipart", "grpc")


@pytest.mark.parametrize("every", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_every_transport_gives_the_golden_plans_of_this_process(live: Live, every: int, measure: Measure) -> None:
    numbers = range(0, NUMBER, every)
    different = [f"{number} over {transport}" for number in numbers for transport in differing(live, number)]
    assert not different
    measure("plans that differ between transports and this process", len(different), at_most=0)
    measure("golden requests compared", len(numbers), at_least=NUMBER // every)


def differing(live: Live, number: int) -> list[str]:
    """Transports whose answer is another one than that of this process."""
    payload = golden_request(number)
    here = live.do(live.running.service.plan(validate(schemas.PlanRequest, payload)))
    wanted = comparable(Answer("", here.model_dump(mode="json")))
    answers = {transport: ask(live, transport)("plan", payload) for transport in TRANSPORTS}
    assert all(answer.code == "" for answer in answers.values()), answers
    return [
        transport
        for transport, answer in answers.items()
        if comparable(answer) != wanted or not np.array_equal(actions_of(answer.body), here.chunk.actions)
    ]


def test_jpeg_moves_the_cost_of_a_plan_a_little(live: Live, measure: Measure) -> None:
    """Of the tiny model on smooth pictures, at quality 90."""
    moved = []
    for seed in range(8):
        lossless, lossy = (cost_of(live, seed, kind) for kind in ("png", "jpeg"))
        moved.append(abs(lossy - lossless) / lossless)
    assert max(moved) > 0, "it is lossy"
    measure("relative change of the predicted cost by JPEG at quality 90, worst of 8", max(moved), at_most=0.1)


def cost_of(live: Live, seed: int, kind: str) -> float:
    frames = [{"images": {"top": smooth(seed + 100 * index, kind)}, "step": 5 * index} for index in range(2)]
    goals = [{"observation": {"images": {"top": smooth(seed + 1000, kind)}}}]
    answer = live.json("plan", plan_payload(context=frames, action_history=[np.zeros((5, 2))], goals=goals))
    assert answer.code == ""
    return float(answer.body["predicted_cost"])


def smooth(seed: int, kind: str) -> dict[str, Any]:
    """A few large blobs of colour, as cameras see them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    options = {"quality": 90} if kind == "jpeg" else {}
    Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC).save(file, format=kind, **options)
    return {"encoded": file.getvalue(), "format": kind}
