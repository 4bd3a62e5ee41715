"""The causal predictor: latents and actions up to now to the next latent, conditioned by AdaLN-zero.

LeWorldModel (arXiv:2603.19312) with AdaLN-zero of DiT (Peebles and Xie 2023, arXiv:2212.09748). The action at step t
modulates position t only; the output at t predicts the latent of t + 1.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldmodel.parts.checks import WIDEST, require_range
from worldmodel.parts.projector import projector
from worldmodel.parts.rotary import rotate


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
    """Predict how a latent changes, not what it becomes: what rests need not be learned."""

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "width", "heads", "head_width", "mlp_width", "projector_width", "window")
        require_range(self, 1, WIDEST, "action_bottleneck")
        require_range(self, 1, 100, "depth")
        require_range(self, 0, 1, "dropout")
        if self.positions == "rotary" and self.head_width % 2:
            raise ValueError(f"head_width={self.head_width} must be even for rotary positions")


class ActionEncoder(nn.Module):
    """Actions of one model step to a modulation vector. No mixing over time."""

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
        """What follows the attention; `attended` [*b heads t head_width]."""
        _, _, gate, shift_mlp, scale_mlp, gate_mlp = modulations
        tokens = tokens + gate * self.to_out(attended.transpose(-3, -2).flatten(-2))
        return tokens + gate_mlp * self.mlp(self.norm(tokens) * (1 + scale_mlp) + shift_mlp)

    def forward(self, tokens: Tensor, conditions: Tensor, visible: Bool[Tensor, "t t"]) -> Tensor:
        modulations = self.modulations(conditions)
        query, key, value = self.queries_keys_values(tokens, modulations[0], modulations[1], first=0)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return self.finish(tokens, attended, modulations)


class Predictor(nn.Module):
    """Latents [b t d] and actions [b t a] to predicted next latents [b t d]."""

    def __init__(self, config: PredictorConfig, latent_width: int, action_width: int) -> None:
        super().__init__()
        self.config = config
        self.action_encoder = ActionEncoder(action_width, config)
        self.enter = nn.Identity() if latent_width == config.width else nn.Linear(latent_width, config.width)
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
        """From the last block to the change of the latent, or to the latent."""
        return self.change if self.config.residual else self.leave

    def every_block(self) -> list[Block]:
        """The blocks, with their type."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def forward(self, latents: Float[Tensor, "b t d"], actions: Float[Tensor, "b t a"]) -> Float[Tensor, "b t d"]:
        steps = latents.shape[1]
        tokens = self.enter(latents)
        if self.config.positions == "learned":
            if steps > self.config.window:
                raise ValueError(
                    f"{steps} frames given; learned positions reach {self.config.window}: pass the newest ones"
                )
            tokens = tokens + self.positions[:, :steps]
        tokens = self.dropout(tokens)
        conditions = self.action_encoder(actions)
        visible = band(steps, self.config.window, latents.device)
        for block in self.blocks:
            tokens = block(tokens, conditions, visible)
        return self.leave_from(tokens, latents)

    def leave_from(self, tokens: Float[Tensor, "b t w"], latents: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The next latents, from what the last block made of these."""
        predicted = self.head(self.norm(tokens).flatten(0, -2)).unflatten(0, tokens.shape[:-1])  # BatchNorm1d: [rows w]
        return latents + predicted if self.config.residual else predicted


def band(steps: int, window: int, device: torch.device) -> Bool[Tensor, "t t"]:
    """True where row t may see column u: t - window < u <= t."""
    distance = torch.arange(steps, device=device)[:, None] - torch.arange(steps, device=device)
    return (distance >= 0) & (distance < window)
