"""The causal predictor: the next latent from the latents and actions so far, with AdaLN-zero conditioning.

LeWorldModel (arXiv:2603.19312) with AdaLN-zero of DiT (Peebles and Xie 2023, arXiv:2212.09748). The action at step t
modulates position t only; the output at t predicts the latent of t + 1.
"""

from dataclasses import dataclass, field
from typing import Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.projector import projector
from worldmodel.parts.rotary import rotate

KeysValues = tuple[Tensor, Tensor]
"""[b heads tokens head_width] each."""


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """Defaults are the published LeWorldModel predictor."""

    width: int = 192
    depth: int = 6
    heads: int = 16
    head_width: int = 64
    mlp_width: int = 2048
    projector_width: int = 2048
    action_bottleneck: int = 10
    dropout: float = 0.1
    positions: Literal["learned", "rotary"] = "learned"
    """Learned positions count from the start of the window, so each imagined step runs the window again. Rotary
    positions are relative, so keys and values can be kept."""
    window: int = 3
    """Tokens that one token can see, itself included."""
    double_norm: bool = True
    """Normalise once more after the modulation, as the published weights do."""
    residual: bool = False
    """Predict the change of a latent instead of the next latent, so that still things need not be learned."""

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "width", "heads", "head_width", "mlp_width", "projector_width", "window")
        require_range(self, 1, WIDEST, "action_bottleneck")
        require_range(self, 1, 100, "depth")
        require_range(self, 0, 1, "dropout")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"head_width={self.head_width} must be even for rotary positions")


class ActionEncoder(nn.Module):
    """Encodes the actions of one model step as a modulation vector; steps do not mix."""

    def __init__(self, action_width: int, config: PredictorConfig) -> None:
        super().__init__()
        self.patch = nn.Linear(action_width, config.action_bottleneck)
        self.embed = nn.Sequential(
            nn.Linear(config.action_bottleneck, 4 * config.width), nn.SiLU(), nn.Linear(4 * config.width, config.width)
        )

    def forward(self, actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b w"]:
        return self.embed(self.patch(actions))


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the action."""

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.rotary = config.positions == "rotary"
        self.dropout = config.dropout
        self.modulation = nn.Linear(config.width, 6 * config.width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        self.norm = nn.LayerNorm(config.width, eps=1e-6, elementwise_affine=False)
        self.attention_norm = nn.LayerNorm(config.width) if config.double_norm else nn.Identity()
        self.to_qkv = nn.Linear(config.width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, config.width), nn.Dropout(config.dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(config.width) if config.double_norm else nn.Identity(),
            nn.Linear(config.width, config.mlp_width),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.mlp_width, config.width),
            nn.Dropout(config.dropout),
        )

    def modulations(self, conditions: Float[Tensor, "*b w"]) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the attention, then of the MLP: six tensors [*b w]."""
        return self.modulation(F.silu(conditions)).chunk(6, dim=-1)

    def queries_keys_values(
        self, tokens: Float[Tensor, "*b t w"], shift: Tensor, scale: Tensor, first: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """[*b heads t head_width] each; queries and keys already turned to their positions first..first+t-1."""
        normed = self.attention_norm(self.norm(tokens) * (1 + scale) + shift)
        qkv = self.to_qkv(normed).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-3, -2)
        query, key, value = qkv.unbind(0)
        if self.rotary:
            query, key = rotate(query, first), rotate(key, first)
        return query, key, value

    def finish(self, tokens: Tensor, attended: Tensor, modulations: tuple[Tensor, ...]) -> Tensor:
        """The tokens after the attention's output and the MLP were added; `attended` is [*b heads t head_width]."""
        _, _, gate, shift_mlp, scale_mlp, gate_mlp = modulations
        tokens = tokens + gate * self.to_out(attended.transpose(-3, -2).flatten(-2))
        return tokens + gate_mlp * self.mlp(self.norm(tokens) * (1 + scale_mlp) + shift_mlp)

    def forward(
        self,
        tokens: Float[Tensor, "b t w"],
        conditions: Float[Tensor, "b t w"],
        kept: KeysValues | None,
        first: int,
        visible: Bool[Tensor, "t k"],
    ) -> tuple[Float[Tensor, "b t w"], KeysValues]:
        """The tokens after this block, and keys and values of all tokens so far. The first stands at `first`."""
        modulations = self.modulations(conditions)
        query, key, value = self.queries_keys_values(tokens, modulations[0], modulations[1], first)
        if kept is not None:
            key, value = torch.cat([kept[0], key], dim=-2), torch.cat([kept[1], value], dim=-2)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return self.finish(tokens, attended, modulations), (key, value)


@dataclass
class Pass:
    """A predictor's pass over one batch: keys and values of the tokens that it has seen."""

    tokens: int = 0
    kept: list[KeysValues | None] = field(default_factory=list)


class Predictor(nn.Module):
    """Predicts the next latents [b t d] from latents [b t d] and actions [b t a]."""

    def __init__(self, config: PredictorConfig, latent_width: int, action_width: int, tokens: int = 1) -> None:
        """`latent_width` is that of a frame: of all its tokens side by side.

        A single token of the blocks' width enters as it is, as in the published weights.
        """
        super().__init__()
        self.config = config
        self.action_encoder = ActionEncoder(action_width, config)
        enters = tokens > 1 or latent_width != config.width
        self.enter = nn.Linear(latent_width, config.width) if enters else nn.Identity()
        if config.positions == "learned":
            self.positions = nn.Parameter(torch.randn(1, config.window, config.width))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        head = projector(config.width, config.projector_width, latent_width)
        if config.residual:
            for parameter in head[-1].parameters():
                nn.init.zeros_(parameter)
            self.change = head
        else:
            self.leave = head

    @property
    def head(self) -> nn.Sequential:
        """The projector from the last block to the latent, or to its change."""
        return self.change if self.config.residual else self.leave

    @property
    def leaving(self) -> nn.Linear:
        """The last layer."""
        return cast(nn.Linear, self.head[-1])

    def every_block(self) -> list[Block]:
        """The blocks, with their type."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def forward(self, latents: Float[Tensor, "b t d"], actions: Float[Tensor, "b t a"]) -> Float[Tensor, "b t d"]:
        """The predicted next latent after each of `latents`."""
        return self.advance(Pass(), latents, self.action_encoder(actions))

    def advance(
        self, begun: Pass, latents: Float[Tensor, "b t d"], conditions: Float[Tensor, "b t w"]
    ) -> Float[Tensor, "b t d"]:
        """The next latent after each of `latents`, which continue the frames of `begun` and are added to it.

        `conditions` are encoded actions. Learned positions reach over `window` tokens of one pass, rotary ones further.
        """
        first, steps = begun.tokens, latents.shape[1]
        tokens = self.enter(latents)
        if self.config.positions == "learned":
            if first + steps > self.config.window:
                raise ValueError(
                    f"{first + steps} frames given; learned positions reach {self.config.window}: pass the newest ones"
                )
            tokens = tokens + self.positions[:, first : first + steps]
        tokens = self.dropout(tokens)
        visible = band(first + steps, self.config.window, latents.device)[-steps:]
        before = begun.kept or [None] * len(self.blocks)
        begun.tokens, begun.kept = first + steps, []
        for block, kept in zip(self.blocks, before, strict=True):
            tokens, keys_values = block(tokens, conditions, kept, first, visible)
            begun.kept.append(keys_values)
        return self.leave_from(tokens, latents)

    def imagine(
        self, context: Float[Tensor, "b t d"], actions: Float[Tensor, "b steps a"]
    ) -> Float[Tensor, "b steps d"]:
        """Predicted latents: teacher-forced for the first t steps, autoregressive after that.

        Has gradients.
        """
        if self.config.positions != "rotary":
            return self._imagine_again(context, actions)
        seen, conditions, begun = context.shape[1], self.action_encoder(actions), Pass()
        newest = self.advance(begun, context, conditions[:, :seen])
        imagined = [newest]
        for step in range(seen, actions.shape[1]):
            newest = self.advance(begun, newest[:, -1:], conditions[:, step : step + 1])
            imagined.append(newest)
        return torch.cat(imagined, dim=1)

    def _imagine_again(self, context: Tensor, actions: Tensor) -> Float[Tensor, "b steps d"]:
        """`imagine` with a whole pass for each step, since learned positions count from the start of a window."""
        reach, seen = self.config.window, context.shape[1]
        latents, imagined = context, [self(context, actions[:, :seen])]
        for end in range(seen, actions.shape[1]):
            latents = torch.cat([latents, imagined[-1][:, -1:]], dim=1)
            first = max(0, end + 1 - reach)
            imagined.append(self(latents[:, first:], actions[:, first : end + 1])[:, -1:])
        return torch.cat(imagined, dim=1)

    def leave_from(self, tokens: Float[Tensor, "b t w"], latents: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The next latents, from the tokens of these latents after the last block."""
        predicted = self.head(self.norm(tokens).flatten(0, -2)).unflatten(0, tokens.shape[:-1])  # BatchNorm1d: [rows w]
        return latents + predicted if self.config.residual else predicted


def prediction_errors(
    predictor: Predictor, latents: Float[Tensor, "b t d"], actions: Float[Tensor, "b t-1 a"], furthest: int = 1
) -> list[Float[Tensor, ""]]:
    """Mean squares 1, 2, ... `furthest` steps ahead, `furthest` below t. Gradients flow into both sides.

    Each pass gives the predictor the predictions of the pass before, at every frame of a clip at once, so the k-th pass
    predicts k steps ahead. Its predictions of the first k - 1 frames, which reach less far, are left out.
    """
    given, errors = latents[:, :-1], []
    for step in range(furthest):
        predicted = predictor(given, actions)
        errors.append((predicted[:, step:] - latents[:, step + 1 :]).float().square().mean())
        given = torch.cat([latents[:, :1], predicted[:, :-1]], dim=1)
    return errors


def band(steps: int, window: int, device: torch.device) -> Bool[Tensor, "t t"]:
    """True where row t may see column u: t - window < u <= t."""
    distance = torch.arange(steps, device=device)[:, None] - torch.arange(steps, device=device)
    return (distance >= 0) & (distance < window)
