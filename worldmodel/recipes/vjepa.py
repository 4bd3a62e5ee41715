"""V-JEPA and V-JEPA 2: an encoder learned from clips, by predicting the latents of hidden tubes from the rest.

Bardes et al. 2024, arXiv:2404.08471 (facebookresearch/jepa), and Assran et al. 2025, arXiv:2506.09985, stage 1
(facebookresearch/vjepa2). Two masks a clip, of many small and of few large blocks that last through all of it; the
encoder sees what each leaves visible, a narrow predictor is asked for what it hides. Targets come from a moving average
of the encoder that sees the whole clip; no gradient enters it, and it is what is served. V-JEPA 2 is the same recipe
with rotary positions instead of sine-cosine tables, a constant momentum, and one mask token for both masks.

Departures:
- clips are frames of a robot's cameras as they are, one model step apart: no random crop and no flip, which would
  change velocities;
- samples are equalised by random choice instead of cutting late frames, except in the published presets;
- V-JEPA 2 turns heads rightly; `positions=tiled` is the published way, for published weights;
- V-JEPA 2 has one mask token; the published ones have ten, of which training used the first;
- a frame alone is encoded as a tubelet of equal frames, as V-JEPA 2-AC does, and not as a clip of 16;
- all cameras share the encoder; a vector sensor is a token as it is, which the losses do not see.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn

from worldmodel.clips import Clips
from worldmodel.parts.cameras import IMAGENET_MEAN, IMAGENET_STD, CameraEncoder, Cameras, PixelConfig
from worldmodel.parts.checks import require_range, require_tubelets
from worldmodel.parts.losses import ErrorKind, TargetNorm, latent_errors, mean_of_real, normalised
from worldmodel.parts.masked import MaskedEncoder, MaskedPredictor
from worldmodel.parts.masks import Blocks, Equalise, complementary
from worldmodel.parts.positions import PositionKind, positions
from worldmodel.parts.self_distilled import SelfDistilled
from worldmodel.parts.targets import Momentum, TargetEncoder
from worldmodel.parts.tokenizers import TubeletTokenizer
from worldmodel.parts.transformer import (
    SMALL,
    SMALL_NARROW,
    TINY,
    TINY_NARROW,
    VIT_G,
    VIT_H,
    VIT_L,
    TransformerConfig,
    initialise,
)
from worldmodel.recipe import Body, Entry, Step


@dataclass(frozen=True, kw_only=True)
class VJEPAConfig:
    """Sizes, masks and targets."""

    pixels: PixelConfig
    tubelet: int = 2
    """Frames of a token."""
    clip_frames: int = 16
    encoder: TransformerConfig
    predictor: TransformerConfig
    positions: PositionKind = "sincos"
    short: Blocks = field(default_factory=lambda: Blocks(count=8, area=(0.15, 0.15)))
    long: Blocks = field(default_factory=lambda: Blocks(count=2, area=(0.7, 0.7)))
    mask_tokens: int = 2
    """One for each of the two masks, or 1 for both."""
    equalise: Equalise = "random"
    error: ErrorKind = "l1"
    target_norm: TargetNorm = "layer"
    momentum: Momentum = field(default_factory=lambda: Momentum(first=0.998, last=0.9996))
    """V-JEPA's rises to 1 over 1.25 trainings, and so ends at 0.9996."""

    def __post_init__(self) -> None:
        require_range(self, 1, 2, "mask_tokens")
        require_tubelets(self.clip_frames, self.tubelet)

    @property
    def wants_twins(self) -> bool:
        """No loss needs twins."""
        return False


class VJEPA(SelfDistilled):
    """Encoder, its moving average, and the predictor."""

    def __init__(self, config: VJEPAConfig, body: Body) -> None:
        super().__init__()
        self.config = config
        self.cameras = Cameras(body.sensors, config.pixels)
        self.grid = (config.clip_frames // config.tubelet, *self.cameras.grid)
        wide, narrow = config.encoder, config.predictor
        self.encoder = MaskedEncoder(
            wide,
            TubeletTokenizer(wide.width, config.pixels.patch, config.tubelet),
            positions(config.positions, wide.width, wide.heads, self.grid),
        )
        self.predictor = MaskedPredictor(
            narrow,
            nn.Linear(wide.width, narrow.width),
            positions(config.positions, narrow.width, narrow.heads, self.grid),
            config.mask_tokens,
        )
        self.leave = nn.Linear(narrow.width, wide.width)
        initialise(self)
        self.target, self.momentum = TargetEncoder(self.encoder), config.momentum

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """`predict_short` and `predict_long`: half of the mean error over what each mask hides."""
        config, pixels = self.config, self.cameras.pixels(batch.sensors)
        wanted = normalised(self._targets(pixels), config.target_norm)
        terms = {}
        for kind, (name, blocks) in enumerate((("short", config.short), ("long", config.long))):
            masks = complementary(blocks, self.grid, len(pixels), config.equalise, step.generator)
            visible, hidden = (mask.to(pixels.device) for mask in masks)
            encoded = self.encoder(pixels, visible)
            _, outputs = self.predictor(encoded, visible, hidden, min(kind, config.mask_tokens - 1))
            errors = latent_errors(config.error, self.leave(outputs), hidden.of(wanted))
            terms[f"predict_{name}"] = mean_of_real(errors, hidden.real) / 2
        return terms

    def tokens(self, pixels: Float[Tensor, "b 3 t height width"]) -> Float[Tensor, "b slots n d"]:
        """Served latents: the target encoder's, of a frame or of a clip."""
        _, rows, columns = self.grid
        return self._targets(pixels).unflatten(1, (-1, rows * columns))


PUBLISHED_PIXELS = PixelConfig(patch=16, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def tiny() -> VJEPAConfig:
    """For tests: learns next to nothing, in milliseconds."""
    return VJEPAConfig(
        pixels=PixelConfig(patch=8),
        clip_frames=4,
        encoder=TINY,
        predictor=TINY_NARROW,
        momentum=Momentum(first=0.9, last=1.0),
    )


def small() -> VJEPAConfig:
    """For clips of 8 frames of 64 px on two CPU cores."""
    return VJEPAConfig(
        pixels=PixelConfig(patch=8),
        clip_frames=8,
        encoder=SMALL,
        predictor=SMALL_NARROW,
        momentum=Momentum(first=0.99, last=0.9996),
    )


def published(encoder: TransformerConfig, predictor_heads: int) -> VJEPAConfig:
    """A model of the first paper, for clips of 16 square frames of 224 px."""
    predictor = TransformerConfig(width=384, depth=12, heads=predictor_heads, mlp_width=1536)
    return VJEPAConfig(pixels=PUBLISHED_PIXELS, encoder=encoder, predictor=predictor, equalise="head")


def of_the_second(config: VJEPAConfig, momentum: float) -> VJEPAConfig:
    """The same sizes as V-JEPA 2 has them."""
    constant = Momentum(first=momentum, last=momentum)
    return dataclasses.replace(config, positions="rotary", mask_tokens=1, momentum=constant)


def tiny_2() -> VJEPAConfig:
    """V-JEPA 2 for tests."""
    return of_the_second(tiny(), 0.9)


def small_2() -> VJEPAConfig:
    """V-JEPA 2 for clips of 8 frames of 64 px on two CPU cores."""
    return of_the_second(small(), 0.996)


def published_2(encoder: TransformerConfig) -> VJEPAConfig:
    """A model of the second paper, for clips of 16 square frames of 256 px."""
    return of_the_second(published(encoder, predictor_heads=12), 0.99925)


def _encoder(module: VJEPA) -> CameraEncoder:
    return CameraEncoder(module.cameras, module.config.encoder.width, module.tokens)


PRESETS = {
    "tiny": tiny,
    "small": small,
    "vit-l16": partial(published, VIT_L, VIT_L.heads),
    "vit-h16": partial(published, VIT_H, VIT_H.heads),
}
PRESETS_2 = {
    "tiny": tiny_2,
    "small": small_2,
    "vit-l16": partial(published_2, VIT_L),
    "vit-h16": partial(published_2, VIT_H),
    "vit-g16": partial(published_2, VIT_G),
}
ENTRY = Entry(config=VJEPAConfig, module=VJEPA, presets=PRESETS, encoder=_encoder)
ENTRY_2 = Entry(config=VJEPAConfig, module=VJEPA, presets=PRESETS_2, encoder=_encoder)
