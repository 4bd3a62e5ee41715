"""Imagines many candidates at once and computes nothing twice. The latents are those of `naive_rollout`.

Savings for predictors in the style of LeWorldModel (arXiv:2603.19312):

- tokens whose action is known are run once a plan (`begin`) and shared by all candidates, never copied;
- keys and values are kept as long as no token's position changes, so that each step runs one token a candidate. Rotary
  positions never change; learned ones change once the window slides, and then the window's own tokens are run again;
- modulations depend on the action only: one matrix product gives those of all candidates, steps and blocks;
- the last block's attention and MLP, and the projector to the latent, run for the newest token only;
- BatchNorm, affine LayerNorms, attention's scale and AdaLN's `1 +` are folded into the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.inference.fast_block import FastBlock, KeysValues, Shared, VisibleTokens
from worldmodel.inference.folding import Affine, FoldedProjector, affine
from worldmodel.inference.packed_linear import PackedLinear
from worldmodel.parts.predictor import Predictor
from worldmodel.parts.rotary import angles

ROWS_AT_ONCE = 512
"""Candidates that a CPU imagines together: more would not fit into its caches."""


@dataclass(frozen=True)
class Prefix:
    """Everything that does not depend on the candidates. Robots are the first axis of each tensor.

    `shared[start][block]` are keys and values of the tokens whose action is known, from frame `start` on. Rotary
    positions need one start; learned ones need one for each frame at which a window over those tokens can begin. The
    newest frame is not among them: its action is each candidate's first.
    """

    context: Float[Tensor, "b t d"]
    past_actions: Float[Tensor, "b t-1 a"]
    shared: tuple[tuple[Tensor, ...], ...]


class FastPredictor:
    """A predictor's weights in the form that imagining uses; matrix products compute in `dtype`."""

    def __init__(self, predictor: Predictor, dtype: torch.dtype) -> None:
        self.config = predictor.config
        self.rotary = predictor.config.positions == "rotary"
        self.positions = None if self.rotary else predictor.positions.detach()[0]  # [t w]
        enters = not isinstance(predictor.enter, nn.Identity)
        self.enter = PackedLinear(*affine(predictor.enter), dtype) if enters else None
        encoder = predictor.action_encoder
        self.action_hidden = PackedLinear(*_composed(affine(encoder.patch), affine(encoder.embed[0])), dtype)
        self.action_condition = PackedLinear(*affine(encoder.embed[2]), dtype)
        self.to_modulations = PackedLinear(*_all_modulations(predictor), dtype)
        self.blocks = [FastBlock(block, predictor.config, dtype) for block in predictor.every_block()]
        self.head = FoldedProjector(predictor.head, dtype, predictor.norm)

    def begin(self, context: Float[Tensor, "b t d"], past_actions: Float[Tensor, "b t-1 a"]) -> Prefix:
        """Run the tokens that all candidates share, once.

        On a CPU, the rounding of products of so few rows depends on their number: each robot is run alone, so that its
        plan does not depend on the rest of the batch.
        """
        if context.device.type == "cpu" and context.shape[0] > 1:
            rows = [slice(robot, robot + 1) for robot in range(context.shape[0])]
            return stack([self.begin(context[row], past_actions[row]) for row in rows])
        if not self.rotary and context.shape[1] > self.config.window:
            oldest = context.shape[1] - self.config.window
            context, past_actions = context[:, oldest:], past_actions[:, oldest:]
        known = past_actions.shape[1]
        tokens = self._enter(context[:, None, :-1])  # [b 1 t-1 w]
        modulations = self._modulations(past_actions[:, None])
        starts = range(min(known, 1) if self.rotary else known)
        shared = tuple(self._run_shared(tokens[:, :, start:], modulations[:, :, start:]) for start in starts)
        return Prefix(context, past_actions, shared)

    def rollout(self, prefix: Prefix, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h d"]:
        """Latents imagined after each step of each candidate."""
        robots, candidates = actions.shape[:2]
        together = max(1, ROWS_AT_ONCE // candidates) if actions.device.type == "cpu" else robots
        parts = [slice(first, first + together) for first in range(0, robots, together)]
        return torch.cat([self._rollout(_robots(prefix, part), actions[part]) for part in parts])

    def _rollout(self, prefix: Prefix, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h d"]:
        robots, candidates, horizon, _ = actions.shape
        modulations = self._modulations(actions)  # [b s h blocks 6 w]
        caches = [self._cache(robots, candidates, self._growing(prefix, horizon)) for _ in self.blocks]
        turns = self._turns(prefix.past_actions.shape[1], horizon)
        newest = prefix.context[:, None, -1:]  # [b 1 1 d], what candidates have in common; then [b s 1 d]
        entered: list[Tensor] = []
        imagined: list[Tensor] = []
        for step in range(horizon):
            entered.append(self._enter(newest))
            predicted = self._predicted(self._step(prefix, step, entered, modulations, caches, turns))
            newest = newest + predicted if self.config.residual else predicted
            imagined.append(newest)
        return torch.cat(imagined, dim=2)

    def _growing(self, prefix: Prefix, horizon: int) -> int:
        """Number of steps before the window slides, during which no token's position changes."""
        return horizon if self.rotary else min(horizon, self.config.window - prefix.past_actions.shape[1])

    def _step(
        self,
        prefix: Prefix,
        step: int,
        entered: list[Tensor],
        modulations: Float[Tensor, "b s h blocks 6 w"],
        caches: list[KeysValues],
        turns: Tensor | None,
    ) -> Float[Tensor, "b s 1 w"]:
        """The newest token after the last block."""
        known = prefix.past_actions.shape[1]
        growing = step < self._growing(prefix, step + 1)
        start = 0 if growing else known + step + 1 - self.config.window
        own = 1 if growing else min(self.config.window, step + 1)
        first = known + step + 1 - own - start
        tokens = entered[step] if own == 1 else _side_by_side(entered[step + 1 - own : step + 1])
        if self.positions is not None:
            tokens = tokens + self.positions[first : first + own]
        conditions = modulations[:, :, step + 1 - own : step + 1].unbind(3)
        shared = prefix.shared[start] if start < len(prefix.shared) else None
        for index, block in enumerate(self.blocks):
            seen = VisibleTokens(
                shared=shared[index] if shared else None,
                cache=caches[index] if growing else None,
                filled=step,
                turns=None if turns is None else turns[step : step + 1],
            )
            queries = 1 if index + 1 == len(self.blocks) else own
            tokens = block.advance(tokens, conditions[index], seen, queries)
        return tokens

    def _run_shared(self, tokens: Tensor, modulations: Tensor) -> tuple[Shared, ...]:
        """Keys and values of each block for the tokens of one window."""
        steps = tokens.shape[2]
        if self.positions is not None:
            tokens = tokens + self.positions[:steps]
        caches = [self._cache(tokens.shape[0], 1, steps) for _ in self.blocks]
        for index, block in enumerate(self.blocks):
            seen = VisibleTokens(shared=None, cache=caches[index], filled=0, turns=self._turns(0, steps))
            tokens = block.advance(tokens, modulations[:, :, :, index], seen, queries=steps)
        return tuple(cache[:, 0] for cache in caches)

    def _cache(self, robots: int, candidates: int, steps: int) -> KeysValues:
        shape = (robots, candidates, steps, 2, self.config.heads, self.config.head_width)
        return torch.empty(shape, device=self.to_modulations.bias.device)

    def _enter(self, latents: Float[Tensor, "b s t d"]) -> Float[Tensor, "b s t w"]:
        return latents if self.enter is None else self.enter(latents).float()

    def _modulations(self, actions: Float[Tensor, "b s t a"]) -> Float[Tensor, "b s t blocks 6 w"]:
        """Modulations of every block, from one matrix product."""
        conditions = F.silu(self.action_condition(F.silu(self.action_hidden(actions))))
        return self.to_modulations(conditions).float().unflatten(-1, (len(self.blocks), 6, self.config.width))

    def _turns(self, first: int, steps: int) -> Tensor | None:
        """Rotary positions first..first+steps-1 as unit complex numbers."""
        if not self.rotary:
            return None
        turned = angles(first, steps, self.config.head_width, self.to_modulations.bias.device)
        return torch.polar(torch.ones_like(turned), turned)[:, None, None]

    def _predicted(self, tokens: Float[Tensor, "b s t w"]) -> Float[Tensor, "b s t d"]:
        return self.head(F.layer_norm(tokens, tokens.shape[-1:], eps=1e-5)).float()


def _robots(prefix: Prefix, part: slice) -> Prefix:
    shared = tuple(tuple(keys_values[part] for keys_values in start) for start in prefix.shared)
    return Prefix(prefix.context[part], prefix.past_actions[part], shared)


def stack(prefixes: Sequence[Prefix]) -> Prefix:
    """The prefixes of several robots as one batch, in this order; all have seen equally many frames."""
    starts = zip(*(prefix.shared for prefix in prefixes), strict=True)
    return Prefix(
        torch.cat([prefix.context for prefix in prefixes]),
        torch.cat([prefix.past_actions for prefix in prefixes]),
        tuple(tuple(map(torch.cat, zip(*start, strict=True))) for start in starts),
    )


def _side_by_side(tokens: list[Tensor]) -> Float[Tensor, "b s t w"]:
    """The tokens of several steps as one tensor; those of the first may be one row for all candidates."""
    candidates = tokens[-1].shape[1]
    return torch.cat([token.expand(-1, candidates, -1, -1) for token in tokens], dim=2)


def _composed(first: Affine, second: Affine) -> Affine:
    """Two Linears with nothing between them, as one."""
    return second[0] @ first[0], second[0] @ first[1] + second[1]


def _all_modulations(predictor: Predictor) -> Affine:
    """The modulation layers of all blocks as one, [shift, scale, gate] twice for each; scales have their 1 added."""
    weights, biases = zip(*(affine(block.modulation) for block in predictor.every_block()), strict=True)
    bias = torch.stack(biases).unflatten(1, (6, -1)).clone()
    bias[:, [1, 4]] += 1
    return torch.cat(weights), bias.flatten()
