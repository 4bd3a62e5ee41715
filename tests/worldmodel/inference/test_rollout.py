"""Imagining the fast way gives what imagining the plain way gives, with less work."""

import pytest
import torch
from torch import Generator, Tensor, nn

from tests.worldmodel.parts.test_predictor import ACTION, LATENT, Positions, make
from worldmodel.inference.fast_block import FastBlock
from worldmodel.inference.fast_predictor import FastPredictor, Prefix, stack
from worldmodel.parts.precision import CLOSE
from worldmodel.parts.predictor import Predictor
from worldmodel.parts.rollout import naive_rollout

ROBOTS, CANDIDATES = 3, 5
EXACT = 1e-4
"""Relative error in float32."""


def unsettled(positions: Positions, window: int, *, double_norm: bool = False, residual: bool = False) -> Predictor:
    """Every weight and statistic that could be folded wrongly is away from its neutral value."""
    predictor = make(positions, window, double_norm=double_norm, residual=residual)
    generator = Generator().manual_seed(2)
    for module in predictor.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm1d) and module.weight is not None:
            module.weight.add_(0.3 * torch.randn(module.weight.shape, generator=generator))
            module.bias.add_(0.3 * torch.randn(module.bias.shape, generator=generator))
        if isinstance(module, nn.BatchNorm1d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return predictor


def problem(context: int, horizon: int, robots: int = ROBOTS, candidates: int = CANDIDATES) -> tuple[Tensor, ...]:
    """Frames seen and actions taken, and candidates for what comes next."""
    generator = Generator().manual_seed(0)
    return (
        torch.randn(robots, context, LATENT, generator=generator),
        torch.randn(robots, context - 1, ACTION, generator=generator),
        torch.randn(robots, candidates, horizon, ACTION, generator=generator),
    )


def fast_rollout(
    predictor: Predictor, context: Tensor, past: Tensor, actions: Tensor, dtype: torch.dtype = torch.float32
) -> Tensor:
    fast = FastPredictor(predictor, dtype)
    return fast.rollout(fast.begin(context, past), actions)


def relative_error(given: Tensor, wanted: Tensor) -> float:
    return float((given - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("horizon", range(1, 9))
@pytest.mark.parametrize("context", range(1, 5))
@pytest.mark.parametrize(
    ("positions", "window"),
    [("rotary", 1), ("rotary", 2), ("rotary", 4), ("rotary", 20), ("learned", 3), ("learned", 1)],
)
@pytest.mark.parametrize(("double_norm", "residual"), [(False, False), (True, False), (False, True)])
def test_fast_is_naive(
    positions: Positions, window: int, context: int, horizon: int, double_norm: bool, residual: bool
) -> None:
    """Learned positions are given a fourth frame too: the newest three count, as in the reference."""
    predictor = unsettled(positions, window, double_norm=double_norm, residual=residual)
    given = problem(context, horizon)
    wanted = naive_rollout(predictor, *given)
    assert relative_error(fast_rollout(predictor, *given), wanted) < EXACT
    assert relative_error(fast_rollout(predictor, *given, torch.bfloat16), wanted) < CLOSE


def test_naive_is_one_step_after_another() -> None:
    """The reference itself, by hand: predict, append, predict again."""
    predictor = make("rotary", 20)
    context, past, actions = problem(2, 3)
    for robot in range(ROBOTS):
        for candidate in range(CANDIDATES):
            seen, taken = context[robot : robot + 1], past[robot : robot + 1]
            for step in range(3):
                taken = torch.cat([taken, actions[robot, candidate, None, step : step + 1]], 1)
                seen = torch.cat([seen, predictor(seen, taken)[:, -1:]], 1)
            torch.testing.assert_close(
                naive_rollout(predictor, context, past, actions)[robot, candidate], seen[0, 2:], rtol=1e-4, atol=1e-5
            )


def test_learned_positions_slide() -> None:
    """LeWorldModel's own rollout: feed the newest 3 latents with their actions, append the output."""
    predictor = make("learned", 3)
    context, past, actions = problem(2, 5)
    seen = context[:, None].expand(-1, CANDIDATES, -1, -1).flatten(0, 1)
    taken = torch.cat([past[:, None].expand(-1, CANDIDATES, -1, -1), actions], 2).flatten(0, 1)
    for end in range(2, 7):
        window = slice(max(0, end - 3), end)
        seen = torch.cat([seen, predictor(seen[:, window], taken[:, window])[:, -1:]], 1)
    torch.testing.assert_close(naive_rollout(predictor, context, past, actions).flatten(0, 1), seen[:, 2:])


def tokens_of_naive(predictor: Predictor, given: tuple[Tensor, ...]) -> float:
    """Through the last block's keys, per candidate."""
    seen: list[int] = []
    hook = predictor.every_block()[-1].to_qkv.register_forward_hook(
        lambda module, inputs, output: seen.append(output.shape[:-1].numel())
    )
    naive_rollout(predictor, *given)
    hook.remove()
    return sum(seen) / (ROBOTS * CANDIDATES)


def tokens_of_fast(
    predictor: Predictor, given: tuple[Tensor, ...], monkeypatch: pytest.MonkeyPatch
) -> dict[str, float]:
    """Through each block, per candidate: those that candidates have of their own, and the queries of the last block."""
    fast = FastPredictor(predictor, torch.float32)
    prefix = fast.begin(*given[:2])
    counts = {"all": 0.0, "last_queries": 0.0}
    advance = FastBlock.advance

    def counted(self: FastBlock, tokens: Tensor, modulations: Tensor, seen, queries: int) -> Tensor:
        rows = ROBOTS * CANDIDATES
        counts["all"] += modulations.shape[:3].numel() / rows / len(fast.blocks)
        counts["last_queries"] += queries * (self is fast.blocks[-1])
        return advance(self, tokens, modulations, seen, queries)

    monkeypatch.setattr(FastBlock, "advance", counted)
    fast.rollout(prefix, given[2])
    return counts


@pytest.mark.parametrize(
    ("positions", "context", "naive", "fast"),
    [("learned", 1, 12, 9), ("learned", 2, 14, 11), ("learned", 3, 15, 12), ("rotary", 1, 15, 5), ("rotary", 3, 25, 5)],
)
def test_tokens_per_candidate(
    positions: Positions, context: int, naive: int, fast: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five steps. Learned positions: growing windows 1, 2, 3 cost a token each, then 3 and 3."""
    predictor = make(positions, 3 if positions == "learned" else 20)
    given = problem(context, 5)
    assert tokens_of_naive(predictor, given) == naive
    assert tokens_of_fast(predictor, given, monkeypatch) == {"all": pytest.approx(fast), "last_queries": 5}


def everything(prefix: Prefix) -> list[Tensor]:
    return [prefix.context, prefix.past_actions, *(tensor for start in prefix.shared for tensor in start)]


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_rolling_out_leaves_the_prefix_as_it_was(positions: Positions) -> None:
    fast = FastPredictor(make(positions, 3), torch.float32)
    context, past, actions = problem(3, 4)
    prefix = fast.begin(context, past)
    before = [tensor.clone() for tensor in everything(prefix)]
    first, second = fast.rollout(prefix, actions), fast.rollout(prefix, actions)
    assert torch.equal(first, second)
    assert all(map(torch.equal, before, everything(prefix)))


@pytest.mark.parametrize("roll", [naive_rollout, fast_rollout])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("changed", range(4))
def test_an_action_changes_the_latent_after_it_and_none_before(positions: Positions, roll, changed: int) -> None:
    predictor = make(positions, 3)
    context, past, actions = problem(2, 4)
    other = actions.clone()
    other[1, 2, changed] += 1
    moved = (roll(predictor, context, past, actions) - roll(predictor, context, past, other)).abs().amax(-1) > 1e-5
    assert moved[1, 2].tolist() == [step >= changed for step in range(4)]
    moved[1, 2] = False
    assert not moved.any(), "another robot or candidate felt it"


@pytest.mark.parametrize(("positions", "window"), [("rotary", 4), ("learned", 3)])
def test_past_actions_and_older_frames_are_felt(positions: Positions, window: int) -> None:
    predictor = make(positions, window)
    context, past, actions = problem(3, 2)
    plain = fast_rollout(predictor, context, past, actions)
    older = torch.cat([context[:, :1] + 1, context[:, 1:]], 1)
    for changed in [(context, past + 1), (older, past)]:
        assert relative_error(fast_rollout(predictor, *changed, actions), plain) > 1e-3


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_robots_and_candidates_do_not_mix(positions: Positions) -> None:
    predictor = make(positions, 3)
    context, past, actions = problem(3, 4)
    together = fast_rollout(predictor, context, past, actions)
    for robot in range(ROBOTS):
        row = slice(robot, robot + 1)
        alone = fast_rollout(predictor, context[row], past[row], actions[row, 3:4])
        torch.testing.assert_close(alone[0, 0], together[robot, 3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_robots_latents_are_the_same_to_the_bit_alone_or_in_a_batch(positions: Positions, dtype: torch.dtype) -> None:
    """Whatever a planner makes of them then is the same, too. Rows of a matrix product must not feel each other."""
    predictor = make(positions, 3)
    context, past, actions = problem(3, 4, robots=3, candidates=128)
    together = fast_rollout(predictor, context, past, actions, dtype)
    for robot in range(3):
        row = slice(robot, robot + 1)
        assert torch.equal(fast_rollout(predictor, context[row], past[row], actions[row], dtype)[0], together[robot])


def test_more_candidates_than_fit_at_once_are_imagined_in_parts() -> None:
    predictor = make("rotary", 3)
    given = problem(3, 2, robots=3, candidates=200)
    assert relative_error(fast_rollout(predictor, *given), naive_rollout(predictor, *given)) < EXACT


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("context", [1, 3])
def test_robots_that_began_alone_are_stacked(positions: Positions, context: int) -> None:
    """In the order given, and as if they had begun together."""
    fast = FastPredictor(make(positions, 3), torch.float32)
    seen, past, actions = problem(context, 4)
    alone = [fast.begin(seen[robot : robot + 1], past[robot : robot + 1]) for robot in range(ROBOTS)]
    order = [2, 0, 1]
    imagined = fast.rollout(stack([alone[robot] for robot in order]), actions[order])
    torch.testing.assert_close(imagined, fast.rollout(fast.begin(seen, past), actions)[order], rtol=1e-4, atol=1e-5)
