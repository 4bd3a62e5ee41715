"""I-JEPA: an encoder learned from single pictures, by predicting the latents of hidden blocks from one visible block.

Assran et al. 2023, arXiv:2301.08243, and the authors' code (facebookresearch/ijepa). A narrow predictor sees the
encoded context and is asked for one block at a time. Its targets come from a moving average of the encoder that sees
the whole picture; no gradient enters it, and it is what is served.

Departures:
- as in the code and not in the paper, targets are normalised over their channels, and the error is smooth L1;
- pictures are frames of a robot's cameras as they are: no random crop, which would move things to other places;
- blocks may touch the last row and column, which the code's sampler never reaches; area and aspect ratio of a block are
  drawn apart;
- samples are equalised by random choice instead of cutting the bottom rows, except in the published presets;
- all cameras share the encoder; a vector sensor is a token as it is, which the losses do not see.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.clips import Clips
from worldmodel.parts.cameras import IMAGENET_MEAN, IMAGENET_STD, CameraEncoder, Cameras, PixelConfig
from worldmodel.parts.losses import ErrorKind, TargetNorm, latent_errors, normalised
from worldmodel.parts.masked import MaskedEncoder, MaskedPredictor
from worldmodel.parts.masks import MultiBlock, TokenSet
from worldmodel.parts.positions import SinCosPositions
from worldmodel.parts.self_distilled import SelfDistilled
from worldmodel.parts.targets import Momentum, TargetEncoder
from worldmodel.parts.tokenizers import TubeletTokenizer
from worldmodel.parts.transformer import (
    INITIAL_STD,
    SMALL,
    SMALL_NARROW,
    TINY,
    TINY_NARROW,
    VIT_B,
    VIT_G,
    VIT_H,
    VIT_L,
    TransformerConfig,
    initialise,
)
from worldmodel.recipe import Body, Entry, Step


@dataclass(frozen=True, kw_only=True)
class IJEPAConfig:
    """Sizes, masks and targets."""

    pixels: PixelConfig
    encoder: TransformerConfig
    predictor: TransformerConfig
    masks: MultiBlock = field(default_factory=MultiBlock)
    error: ErrorKind = "smooth_l1"
    target_norm: TargetNorm = "layer"
    momentum: Momentum = field(default_factory=lambda: Momentum(first=0.996, last=1.0))

    @property
    def clip_frames(self) -> int:
        """A picture is a clip of one frame."""
        return 1

    @property
    def wants_twins(self) -> bool:
        """No loss needs twins."""
        return False


class IJEPA(SelfDistilled):
    """Encoder, its moving average, and the predictor."""

    def __init__(self, config: IJEPAConfig, body: Body) -> None:
        super().__init__()
        self.config = config
        self.cameras = Cameras(body.sensors, config.pixels)
        self.grid = (1, *self.cameras.grid)
        width, narrow = config.encoder.width, config.predictor.width
        self.encoder = MaskedEncoder(
            config.encoder, TubeletTokenizer(width, config.pixels.patch, 1), SinCosPositions(width, self.grid)
        )
        self.predictor = MaskedPredictor(config.predictor, nn.Linear(width, narrow), SinCosPositions(narrow, self.grid))
        self.leave = nn.Linear(narrow, width)
        initialise(self)
        nn.init.trunc_normal_(self.predictor.mask_tokens, std=INITIAL_STD)
        self.target, self.momentum = TargetEncoder(self.encoder), config.momentum

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """`predict`: mean error of the predicted latents of the target blocks."""
        pixels = self.cameras.pixels(batch.sensors)
        context, blocks = self.config.masks.sample(self.grid, len(pixels), step.generator)
        context, blocks = context.to(pixels.device), [block.to(pixels.device) for block in blocks]
        wanted = normalised(self._targets(pixels), self.config.target_norm)
        predicted = self._predictions(self.encoder(pixels, context), context, blocks)
        hidden = torch.cat([block.of(wanted) for block in blocks])
        return {"predict": latent_errors(self.config.error, predicted, hidden).mean()}

    def tokens(self, pixels: Float[Tensor, "b 3 t height width"]) -> Float[Tensor, "b t n d"]:
        """Served latents: the target encoder's, of each frame alone."""
        frames = pixels.transpose(1, 2).flatten(0, 1)[:, :, None]
        return self._targets(frames).unflatten(0, (len(pixels), -1))

    def _predictions(
        self, encoded: Float[Tensor, "b v d"], context: TokenSet, blocks: list[TokenSet]
    ) -> Float[Tensor, "rows m d"]:
        """Predictions of each block alone: tokens of different blocks do not see each other."""
        count = len(blocks)
        real = None if context.real is None else context.real.repeat(count, 1)
        visible = TokenSet(context.index.repeat(count, 1), real)
        hidden = TokenSet(torch.cat([block.index for block in blocks]))
        return self.leave(self.predictor(encoded.repeat(count, 1, 1), visible, hidden)[1])


def tiny() -> IJEPAConfig:
    """For tests: learns next to nothing, in milliseconds."""
    return IJEPAConfig(
        pixels=PixelConfig(patch=8),
        encoder=TINY,
        predictor=TINY_NARROW,
        masks=MultiBlock(least_context=2),
        momentum=Momentum(first=0.9, last=1.0),
    )


def small() -> IJEPAConfig:
    """For images of 64 px on two CPU cores."""
    return IJEPAConfig(
        pixels=PixelConfig(patch=8),
        encoder=SMALL,
        predictor=SMALL_NARROW,
        masks=MultiBlock(least_context=5),
        momentum=Momentum(first=0.99, last=1.0),
    )


def published(patch: int, encoder: TransformerConfig, predictor_depth: int) -> IJEPAConfig:
    """A model of the paper, for square images of 224 px (H/16: 448 px)."""
    predictor = TransformerConfig(width=384, depth=predictor_depth, heads=encoder.heads, mlp_width=1536)
    return IJEPAConfig(
        pixels=PixelConfig(patch=patch, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        encoder=encoder,
        predictor=predictor,
        masks=MultiBlock(equalise="head"),
    )


PRESETS = {
    "tiny": tiny,
    "small": small,
    "vit-b16": partial(published, 16, VIT_B, 6),
    "vit-l16": partial(published, 16, VIT_L, 12),
    "vit-h14": partial(published, 14, VIT_H, 12),
    "vit-h16": partial(published, 16, VIT_H, 12),
    "vit-g16": partial(published, 16, dataclasses.replace(VIT_G, heads=16), 16),
}
ENTRY = Entry(
    config=IJEPAConfig,
    module=IJEPA,
    presets=PRESETS,
    encoder=lambda module: CameraEncoder(module.cameras, module.config.encoder.width, module.tokens),
)
