"""Imagining the future with a predictor: the plain way, and the way that computes nothing twice.

Both give the same latents. `naive_rollout` runs the whole sequence again for every imagined step and is the reference;
`cached_rollout` keeps keys and values, which needs relative positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodel.predictor import Block, Predictor, band


@dataclass(frozen=True)
class Prefix:
    """Everything that does not depend on the candidates.

    `context` [b t d] and `past_actions` [b t-1 a] as given; `keys` and `values` hold, for each block, those of the
    tokens whose action is known: [b heads t-1 head_width]. The newest frame waits for a candidate's first action.
    """

    context: Float[Tensor, "b t d"]
    past_actions: Float[Tensor, "b t-1 a"]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


def naive_rollout(predictor: Predictor, prefix: Prefix, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h d"]:
    """Reference: one full pass over the sequence for each imagined step."""
    robots, candidates, horizon, _ = actions.shape
    latents = _per_candidate(prefix.context, candidates)  # [b*s t d]
    past = _per_candidate(prefix.past_actions, candidates)
    future = actions.flatten(0, 1)
    reach = predictor.config.window if predictor.config.positions == "learned" else None
    for step in range(horizon):
        taken = torch.cat([past, future[:, : step + 1]], dim=1)
        seen, taken = (latents, taken) if reach is None else (latents[:, -reach:], taken[:, -reach:])
        latents = torch.cat([latents, predictor(seen, taken)[:, -1:]], dim=1)
    return latents[:, -horizon:].unflatten(0, (robots, candidates))


def begin(predictor: Predictor, context: Float[Tensor, "b t d"], past_actions: Float[Tensor, "b t-1 a"]) -> Prefix:
    """Run the tokens that all candidates share, once."""
    keys, values = [], []
    steps = past_actions.shape[1]
    if predictor.config.positions == "rotary" and steps > 0:
        tokens = predictor.enter(context[:, :-1])
        conditions = predictor.action_encoder(past_actions)
        visible = band(steps, predictor.config.window, tokens.device)
        for block in predictor.every_block():
            modulations = block.modulations(conditions)
            query, key, value = block.queries_keys_values(tokens, modulations[0], modulations[1], first=0)
            attended = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
            tokens = block.finish(tokens, attended, modulations)
            keys.append(key)
            values.append(value)
    return Prefix(context, past_actions, tuple(keys), tuple(values))


def stack(prefixes: Sequence[Prefix]) -> Prefix:
    """Many robots' prefixes as one batch, in this order."""
    return Prefix(
        torch.cat([prefix.context for prefix in prefixes]),
        torch.cat([prefix.past_actions for prefix in prefixes]),
        tuple(torch.cat(keys) for keys in zip(*(prefix.keys for prefix in prefixes), strict=True)),
        tuple(torch.cat(values) for values in zip(*(prefix.values for prefix in prefixes), strict=True)),
    )


def cached_rollout(predictor: Predictor, prefix: Prefix, actions: Float[Tensor, "b s h a"]) -> Float[Tensor, "b s h d"]:
    """One token a candidate and step. Keys and values of the prefix are shared, never copied, over candidates."""
    candidates, horizon = actions.shape[1:3]
    conditions = predictor.action_encoder(actions)  # [b s h w]
    blocks = predictor.every_block()
    modulations = [block.modulations(conditions) for block in blocks]
    caches = [_Cache(prefix, index) for index in range(len(blocks))]
    latent = prefix.context[:, None, -1].expand(-1, candidates, -1)  # [b s d]
    imagined = []
    for step in range(horizon):
        tokens = predictor.enter(latent)
        for block, cache, all_steps in zip(blocks, caches, modulations, strict=True):
            tokens = _advance(block, cache, tokens, tuple(m[:, :, step] for m in all_steps), predictor.config.window)
        latent = predictor.to_latents(tokens)
        imagined.append(latent)
    return torch.stack(imagined, dim=2)


class _Cache:
    """Keys and values of one block: those of the shared prefix, and those that each candidate adds."""

    def __init__(self, prefix: Prefix, block: int) -> None:
        self.shared = (prefix.keys[block], prefix.values[block]) if prefix.keys else None  # [b heads t-1 w]
        self.prefix_steps = prefix.past_actions.shape[1]
        self.keys: list[Tensor] = []  # one [b s heads w] a step
        self.values: list[Tensor] = []


def _advance(
    block: Block, cache: _Cache, tokens: Float[Tensor, "b s w"], modulations: tuple[Tensor, ...], window: int
) -> Tensor:
    position = cache.prefix_steps + len(cache.keys)
    parts = block.queries_keys_values(
        tokens.unsqueeze(2), modulations[0].unsqueeze(2), modulations[1].unsqueeze(2), first=position
    )
    query, key, value = (part.squeeze(3) for part in parts)  # [b s heads w]
    cache.keys.append(key)
    cache.values.append(value)
    own = min(len(cache.keys), window)
    keys, values = torch.stack(cache.keys[-own:], dim=3), torch.stack(cache.values[-own:], dim=3)  # [b s heads k w]
    query = query * query.shape[-1] ** -0.5
    scores = (query.unsqueeze(3) * keys).sum(-1)  # [b s heads k]
    shared = min(cache.prefix_steps, window - own)
    if cache.shared is None or shared == 0:
        attended = (scores.softmax(-1).unsqueeze(-1) * values).sum(3)
    else:
        shared_keys, shared_values = (part[:, :, -shared:] for part in cache.shared)
        scores = torch.cat([torch.einsum("bshw,bhkw->bshk", query, shared_keys), scores], dim=-1).softmax(-1)
        attended = torch.einsum("bshk,bhkw->bshw", scores[..., :shared], shared_values)
        attended = attended + (scores[..., shared:].unsqueeze(-1) * values).sum(3)
    one_step = tuple(part.unsqueeze(2) for part in modulations)
    return block.finish(tokens.unsqueeze(2), attended.unsqueeze(3), one_step).squeeze(2)


def _per_candidate(tensor: Float[Tensor, "b t x"], candidates: int) -> Float[Tensor, "c t x"]:
    """Repeat each robot's rows for each of its candidates."""
    return tensor.repeat_interleave(candidates, dim=0)
