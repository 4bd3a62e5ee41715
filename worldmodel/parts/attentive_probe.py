"""The attentive probe: how much can be read from frozen tokens, when a small network may choose where to look?

Bardes et al. 2024 (V-JEPA), arXiv:2404.08471, section 4 and appendix D. As in the released code, attention has no
output projection, and its keys and values are normalised but not its query.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.parts.transformer import EPSILON, INITIAL_STD, initialise


class AttentiveProbe(nn.Module):
    """One learned query looks at all tokens; an MLP and a linear layer read what it found."""

    def __init__(self, width: int, heads: int, outputs: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} must be a multiple of heads={heads}")
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(width))
        self.norm_tokens = nn.LayerNorm(width, eps=EPSILON)
        self.to_query = nn.Linear(width, width)
        self.to_keys_values = nn.Linear(width, 2 * width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width, eps=EPSILON), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.read = nn.Linear(width, outputs)
        initialise(self)
        nn.init.trunc_normal_(self.query, std=INITIAL_STD)

    def forward(self, tokens: Float[Tensor, "b n d"]) -> Float[Tensor, "b outputs"]:
        asked = self.to_query(self.query).view(1, self.heads, 1, -1).expand(len(tokens), -1, -1, -1)
        keys_values = self.to_keys_values(self.norm_tokens(tokens)).unflatten(-1, (2, self.heads, -1))
        key, value = keys_values.permute(2, 0, 3, 1, 4)  # [2 b heads n d/heads]
        found = self.query + F.scaled_dot_product_attention(asked, key, value).flatten(1)
        return self.read(found + self.mlp(found))
