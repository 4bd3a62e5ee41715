"""The two transformers of a masked JEPA: one encodes what is seen, a narrower one predicts what is not."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.parts.masks import TokenSet
from worldmodel.parts.positions import Positions
from worldmodel.parts.transformer import EPSILON, Transformer, TransformerConfig


class MaskedEncoder(nn.Module):
    """Tokenizes all pixels, and encodes all tokens or only some of them."""

    def __init__(self, config: TransformerConfig, tokenizer: nn.Module, positions: Positions) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.positions = positions
        self.transformer = Transformer(config)
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)

    def forward(
        self, pixels: Float[Tensor, "b 3 t height width"], seen: TokenSet | None = None
    ) -> Float[Tensor, "b k d"]:
        tokens = self.positions.added(self.tokenizer(pixels))
        rotation = self.positions.rotation(tokens.shape[1], None if seen is None else seen.index)
        if seen is None:
            return self.norm(self.transformer(tokens, rotation))
        return self.norm(self.transformer(seen.of(tokens), rotation, seen.real))


class MaskedPredictor(nn.Module):
    """Reads encoded tokens and mask tokens side by side, and gives all of them back, normalised.

    `enter` brings encoded tokens to the predictor's width. A mask token says nothing but its kind and its place.
    """

    def __init__(self, config: TransformerConfig, enter: nn.Module, positions: Positions, kinds: int = 1) -> None:
        super().__init__()
        self.enter = enter
        self.positions = positions
        self.mask_tokens = nn.Parameter(torch.zeros(kinds, config.width))
        self.transformer = Transformer(config)
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)

    def forward(
        self,
        encoded: Float[Tensor, "b v d"],
        visible: TokenSet,
        hidden: TokenSet,
        kind: int = 0,
        shift: Float[Tensor, " w"] | None = None,
    ) -> tuple[Float[Tensor, "b v w"], Float[Tensor, "b m w"]]:
        """Outputs at the visible and at the hidden places. `shift` is added to every token, such as a modality's."""
        places = visible.before(hidden)
        masks = self.mask_tokens[kind].expand(*hidden.index.shape, -1)
        tokens = torch.cat([self.enter(encoded), masks], dim=1)
        if shift is not None:
            tokens = tokens + shift
        tokens = self.positions.added(tokens, places.index)
        rotation = self.positions.rotation(tokens.shape[1], places.index)
        outputs = self.norm(self.transformer(tokens, rotation, places.real))
        seen = encoded.shape[1]
        return outputs[:, :seen], outputs[:, seen:]
