"""One predictor block for imagining: folded weights, attention over few tokens, and no output that is not used.

Tokens are [b s m w]: robots, candidates, tokens of one candidate, width. They are float32 between the layers, and so
are LayerNorm, softmax and attention; `dtype` is what the matrix products compute in.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from worldmodel.inference.folding import affine, after_norm
from worldmodel.inference.packed_linear import PackedLinear
from worldmodel.parts.predictor import Block, PredictorConfig

KeysValues = Float[Tensor, "b s k 2 heads x"]
Shared = Float[Tensor, "b p 2 heads x"]
"""Keys and values of tokens that all candidates of a robot have in common."""


@dataclass(frozen=True)
class VisibleTokens:
    """The earlier tokens that the tokens of this pass may attend to, and the positions of the latter."""

    shared: Shared | None
    cache: KeysValues | None
    """Room for keys and values of each candidate's own tokens; None when no later step needs them."""
    filled: int
    """Number of places in `cache` that hold earlier tokens."""
    turns: Complex[Tensor, "m 1 1 half"] | None
    """Rotary positions of the tokens as unit complex numbers; None for learned positions, which are in the tokens."""


class FastBlock:
    """`Block` in evaluation mode."""

    def __init__(self, block: Block, config: PredictorConfig, dtype: torch.dtype) -> None:
        self.heads, self.head_width, self.window = config.heads, config.head_width, config.window
        self.double_norm = config.double_norm
        inner = config.heads * config.head_width
        weight, bias = after_norm(block.attention_norm, block.to_qkv)
        if config.positions == "rotary":  # channel pairs side by side, as complex numbers lie in memory
            rows = torch.arange(3 * inner).view(3, config.heads, 2, -1).clone()
            rows[:2] = rows[:2].transpose(-1, -2).reshape(rows[:2].shape)
            weight, bias = weight[rows.flatten()], bias[rows.flatten()]
        scale = config.head_width**-0.5
        weight, bias = weight.clone(), bias.clone()
        weight[:inner] *= scale
        bias[:inner] *= scale
        self.to_queries_keys_values = PackedLinear(weight, bias, dtype)
        self.to_out = PackedLinear(*affine(block.to_out[0]), dtype)
        self.to_hidden = PackedLinear(*after_norm(block.mlp[0], block.mlp[1]), dtype, "gelu")
        self.from_hidden = PackedLinear(*affine(block.mlp[4]), dtype)

    def advance(
        self,
        tokens: Float[Tensor, "b _ m w"],
        modulations: Float[Tensor, "b s m 6 w"],
        seen: VisibleTokens,
        queries: int,
    ) -> Float[Tensor, "b s q w"]:
        """The newest `queries` tokens after this block; keys and values of all go into the cache.

        `tokens` may have one row for all candidates. The scales in `modulations` already have their 1 added.
        """
        shift, scale, *after = modulations.unbind(3)
        asked = self.to_queries_keys_values(self._modulate(tokens, shift, scale))
        asked = asked.float().unflatten(-1, (3, self.heads, self.head_width))
        if seen.turns is not None:
            _turn(asked[:, :, :, :2], seen.turns)
        query, keys_values = asked[:, :, :, 0], asked[:, :, :, 1:]
        if seen.cache is not None:
            filled = seen.filled + tokens.shape[2]
            seen.cache[:, :, seen.filled : filled] = keys_values
            keys_values = seen.cache[:, :, :filled]
        if unasked := tokens.shape[2] - queries:
            tokens, query = tokens[:, :, unasked:], query[:, :, unasked:]
            after = [part[:, :, unasked:] for part in after]
        gate, shift_mlp, scale_mlp, gate_mlp = after
        attended = self.to_out(self._attend(query, keys_values, seen.shared))
        tokens = torch.addcmul(tokens, gate, attended.float())
        hidden = self.to_hidden(self._modulate(tokens, shift_mlp, scale_mlp))
        return torch.addcmul(tokens, gate_mlp, self.from_hidden(hidden).float())

    def _modulate(self, tokens: Tensor, shift: Tensor, scale: Tensor) -> Float[Tensor, "b s m w"]:
        normed = torch.addcmul(shift, F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6), scale)
        return F.layer_norm(normed, normed.shape[-1:], eps=1e-5) if self.double_norm else normed

    def _attend(
        self, queries: Float[Tensor, "b s q heads x"], own: KeysValues, shared: Shared | None
    ) -> Float[Tensor, "b s q inner"]:
        """Each token sees `window` tokens, itself the last."""
        before = 0 if shared is None else shared.shape[1]
        attended = []
        for index, query in enumerate(queries.unbind(2)):
            newest = own.shape[2] - queries.shape[2] + index + 1
            reach = own[:, :, max(0, newest - self.window) : newest]
            left = min(before, self.window - reach.shape[2])
            attended.append(attend(query, reach, shared[:, before - left :] if shared is not None and left else None))
        return torch.stack(attended, dim=2).flatten(3)


def attend(query: Float[Tensor, "b s heads x"], own: KeysValues, shared: Shared | None) -> Float[Tensor, "b s heads x"]:
    """Softmax attention of one query over very few tokens.

    Sums of products are faster here than batched matrix products, and a candidate's sums do not depend on the rest of
    the batch.
    """
    groups = [own] if shared is None else [shared.unsqueeze(1), own]  # [b s k 2 heads x], [b 1 p 2 heads x]
    query = query.unsqueeze(2)
    scores = torch.cat([(query * group[:, :, :, 0]).sum(-1) for group in groups], dim=2)  # [b s p+k heads]
    shares = scores.softmax(2).unsqueeze(-1).split([group.shape[2] for group in groups], dim=2)
    parts = [(share * group[:, :, :, 1]).sum(2) for share, group in zip(shares, groups, strict=True)]
    return parts[0] if shared is None else parts[0] + parts[1]


def _turn(heads: Float[Tensor, "b s m 2 heads x"], turns: Complex[Tensor, "m 1 1 half"]) -> None:
    """Rotary positions of queries and keys, in place, on channels whose pairs lie side by side."""
    torch.view_as_complex(heads.unflatten(-1, (-1, 2))).mul_(turns)
