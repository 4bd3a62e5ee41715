"""V-JEPA 2.1: V-JEPA 2 with latents that localise, since visible tokens are predicted too and at several levels.

arXiv:2603.14482 (2026), and the authors' code (facebookresearch/vjepa2, app/vjepa_2_1). The encoder
is read at several blocks, each normalised by a norm of its own; the predictor gives all levels, at hidden tokens by one
head and at visible ones by another. A visible token counts the less the further it is from a hidden one, and visible
tokens count at all only after a part of the training. Pictures have a tokenizer of their own; what is a picture and
what a clip, learned vectors say, which are added to every token.

Departures:
- clips are frames of a robot's cameras as they are, one model step apart: no random crop and no flip;
- every step learns from clips and from one random frame of each, as pictures; the published training has pictures of
  its own, on other processes. Both count half;
- samples are equalised by random choice instead of cutting late frames, except in the published presets;
- one mask token for all masks; the published ones have eight, of which training used the first;
- no step is skipped because of its loss;
- all cameras share the encoder; a vector sensor is a token as it is, which the losses do not see.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from worldmodel.clips import Clips
from worldmodel.parts.cameras import IMAGENET_MEAN, IMAGENET_STD, CameraEncoder, Cameras, PixelConfig
from worldmodel.parts.checks import WIDEST, require_range, require_tubelets
from worldmodel.parts.losses import ErrorKind, TargetNorm, latent_errors, mean_of_real, normalised
from worldmodel.parts.masked import MaskedPredictor
from worldmodel.parts.masks import Blocks, Equalise, Grid, TokenSet, complementary
from worldmodel.parts.positions import RotaryPositions, coordinates
from worldmodel.parts.self_distilled import SelfDistilled
from worldmodel.parts.targets import Momentum, TargetEncoder
from worldmodel.parts.tokenizers import TubeletTokenizer
from worldmodel.parts.transformer import (
    EPSILON,
    SMALL,
    SMALL_NARROW,
    TINY,
    TINY_NARROW,
    VIT_B,
    VIT_G,
    VIT_GG,
    VIT_L,
    Transformer,
    TransformerConfig,
    initialise,
)
from worldmodel.recipe import Body, Entry, Step

MODALITY_STD = 1e-6
PICTURE, CLIP = 0, 1
"""Rows of the vectors that say which modality a token is of."""


@dataclass(frozen=True, kw_only=True)
class VJEPA21Config:
    """Sizes, masks, targets, and how much visible tokens count."""

    pixels: PixelConfig
    tubelet: int = 2
    """Frames of a clip's token."""
    clip_frames: int = 16
    encoder: TransformerConfig
    predictor: TransformerConfig
    levels: tuple[int, ...]
    """Blocks whose outputs are predicted, counted from 0; the last is what is served."""
    reference: int = 16
    """Tokens on a side of the grid to which the encoder's rotary positions are stretched."""
    short: Blocks = field(default_factory=lambda: Blocks(count=8, area=(0.15, 0.15)))
    long: Blocks = field(default_factory=lambda: Blocks(count=2, area=(0.7, 0.7)))
    pictures: Blocks = field(default_factory=lambda: Blocks(count=10, area=(0.15, 0.15)))
    equalise: Equalise = "random"
    error: ErrorKind = "l1"
    target_norm: TargetNorm = "layer"
    visible_weight: float = 0.5
    """Called lambda in the paper."""
    visible_from: float = 1 / 9
    """Share of the training after which visible tokens begin to count."""
    visible_full: float = 2 / 9
    """Share of the training after which they count in full; linear in between."""
    by_distance: bool = True
    """Whether a visible token counts less far from hidden ones."""
    momentum: Momentum = field(default_factory=lambda: Momentum(first=0.99925, last=0.99925))

    def __post_init__(self) -> None:
        require_range(self, 1, WIDEST, "reference")
        require_range(self, 0, 1, "visible_from", "visible_full")
        require_range(self, 0, WIDEST, "visible_weight")
        require_tubelets(self.clip_frames, self.tubelet)
        ascending = list(self.levels) == sorted(set(self.levels))
        if not self.levels or not ascending or not 0 <= self.levels[0] <= self.levels[-1] < self.encoder.depth:
            raise ValueError(f"levels={self.levels} must be ascending block numbers in 0..{self.encoder.depth - 1}")
        if self.visible_full < self.visible_from:
            raise ValueError(f"visible_full={self.visible_full} must not be before visible_from={self.visible_from}")

    @property
    def wants_twins(self) -> bool:
        """No loss needs twins."""
        return False

    def visible_weight_at(self, progress: float) -> float:
        """How much visible tokens count after this share of the training."""
        if progress >= self.visible_full:
            return self.visible_weight
        rising = (progress - self.visible_from) / (self.visible_full - self.visible_from)
        return self.visible_weight * max(0.0, rising)


class LevelEncoder(nn.Module):
    """Encodes pictures and clips, all of their tokens or some; gives several levels side by side."""

    def __init__(self, config: VJEPA21Config, grid: Grid) -> None:
        super().__init__()
        width, patch = config.encoder.width, config.pixels.patch
        self.levels = config.levels
        self.clip_tokenizer = TubeletTokenizer(width, patch, config.tubelet)
        self.picture_tokenizer = TubeletTokenizer(width, patch, 1)
        self.modalities = nn.Parameter(torch.zeros(2, width))
        self.positions = RotaryPositions(width // config.encoder.heads, grid, reference=config.reference)
        self.transformer = Transformer(config.encoder)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=EPSILON) for _ in config.levels)

    def forward(
        self, pixels: Float[Tensor, "b 3 t height width"], seen: TokenSet | None = None
    ) -> Float[Tensor, "b k levels_d"]:
        """A single frame is a picture."""
        kind, tokenizer = (PICTURE, self.picture_tokenizer) if pixels.shape[2] == 1 else (CLIP, self.clip_tokenizer)
        tokens = tokenizer(pixels) + self.modalities[kind]
        rotation = self.positions.rotation(tokens.shape[1], None if seen is None else seen.index)
        if seen is not None:
            tokens = seen.of(tokens)
        read = self.transformer.levels(tokens, self.levels, rotation, None if seen is None else seen.real)
        return torch.cat([norm(level) for norm, level in zip(self.norms, read, strict=True)], dim=-1)


class VJEPA21(SelfDistilled):
    """Encoder, its moving average, and the predictor with two heads."""

    def __init__(self, config: VJEPA21Config, body: Body) -> None:
        super().__init__()
        self.config = config
        self.cameras = Cameras(body.sensors, config.pixels)
        self.grid = (config.clip_frames // config.tubelet, *self.cameras.grid)
        width, narrow = config.encoder.width, config.predictor.width
        all_levels = len(config.levels) * width
        self.encoder = LevelEncoder(config, self.grid)
        self.predictor = MaskedPredictor(
            config.predictor,
            nn.Sequential(nn.Linear(all_levels, width), nn.GELU(), nn.Linear(width, narrow)),
            RotaryPositions(narrow // config.predictor.heads, self.grid),
        )
        self.modalities = nn.Parameter(torch.zeros(2, narrow))
        self.leave_hidden = nn.Linear(narrow, all_levels)
        self.leave_visible = nn.Linear(narrow, all_levels)
        initialise(self)
        for vectors in (self.encoder.modalities, self.modalities):
            nn.init.normal_(vectors, std=MODALITY_STD)
        self.target, self.momentum = TargetEncoder(self.encoder), config.momentum

    def losses(self, batch: Clips, step: Step) -> dict[str, Float[Tensor, ""]]:
        """`predict_clips`, `predict_pictures`: half of the mean error at hidden tokens. `visible_clips`,
        `visible_pictures`: half of that at visible tokens, weighted by distance and progress."""
        config, clips = self.config, self.cameras.pixels(batch.sensors)
        visible_weight = config.visible_weight_at(step.progress)
        kinds = {
            "clips": (clips, self.grid, (config.short, config.long)),
            "pictures": (one_frame(clips, step.generator), (1, *self.grid[1:]), (config.pictures,)),
        }
        terms = {}
        for name, (pixels, grid, blocks) in kinds.items():
            hidden, visible = self._errors(pixels, grid, blocks, step.generator)
            terms[f"predict_{name}"] = hidden / 2
            terms[f"visible_{name}"] = visible_weight * visible / 2
        return terms

    def tokens(self, pixels: Float[Tensor, "b 3 t height width"]) -> Float[Tensor, "b slots n d"]:
        """Served latents: the target encoder's last level, of a picture or of a clip."""
        _, rows, columns = self.grid
        return self._targets(pixels)[..., -self.config.encoder.width :].unflatten(1, (-1, rows * columns))

    def _errors(
        self, pixels: Float[Tensor, "b 3 t height width"], grid: Grid, blocks: Sequence[Blocks], generator: Generator
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Mean errors at hidden and at visible tokens, over the masks."""
        config = self.config
        levels = self._targets(pixels).chunk(len(config.levels), dim=-1)
        wanted = torch.cat([normalised(level, config.target_norm) for level in levels], dim=-1)
        at_hidden, at_visible = [], []
        for each in blocks:
            masks = complementary(each, grid, len(pixels), config.equalise, generator)
            visible, hidden = (mask.to(pixels.device) for mask in masks)
            shift = self.modalities[PICTURE if grid[0] == 1 else CLIP]
            seen, asked = self.predictor(self.encoder(pixels, visible), visible, hidden, shift=shift)
            errors = latent_errors(config.error, self.leave_hidden(asked), hidden.of(wanted))
            at_hidden.append(mean_of_real(errors, hidden.real))
            errors = latent_errors(config.error, self.leave_visible(seen), visible.of(wanted))
            if config.by_distance:
                errors = errors * distance_weights(visible, hidden, grid)
            at_visible.append(mean_of_real(errors, visible.real))
        return torch.stack(at_hidden).mean(), torch.stack(at_visible).mean()


def distance_weights(visible: TokenSet, hidden: TokenSet, grid: Grid) -> Float[Tensor, "b v"]:
    """1 / sqrt(d), where d is the distance on the grid from each visible token to the nearest hidden one."""
    places = coordinates(grid).to(visible.index.device)
    distances = torch.cdist(places[visible.index], places[hidden.index], compute_mode="donot_use_mm_for_euclid_dist")
    if hidden.real is not None:
        distances = distances.masked_fill(~hidden.real[:, None], float("inf"))
    return distances.amin(-1).clamp_min(1).rsqrt()


def one_frame(clips: Float[Tensor, "b 3 t height width"], generator: Generator) -> Float[Tensor, "b 3 1 height width"]:
    """A random frame of each clip."""
    chosen = torch.randint(clips.shape[2], (len(clips),), generator=generator).to(clips.device)
    return clips[torch.arange(len(clips), device=clips.device), :, chosen][:, :, None]


def tiny() -> VJEPA21Config:
    """For tests: learns next to nothing, in milliseconds."""
    return VJEPA21Config(
        pixels=PixelConfig(patch=8),
        clip_frames=4,
        encoder=TINY,
        predictor=TINY_NARROW,
        levels=(0, 1),
        visible_from=0.0,
        visible_full=0.0,
        momentum=Momentum(first=0.9, last=0.9),
    )


def small() -> VJEPA21Config:
    """For clips of 8 frames of 64 px on two CPU cores."""
    return VJEPA21Config(
        pixels=PixelConfig(patch=8),
        clip_frames=8,
        encoder=SMALL,
        predictor=SMALL_NARROW,
        levels=(0, 1, 2, 3),
        momentum=Momentum(first=0.996, last=0.996),
    )


def published(encoder: TransformerConfig, levels: tuple[int, ...]) -> VJEPA21Config:
    """A model of the paper as it was pre-trained (B and L were distilled), for clips of 16 square frames of 256 px."""
    return VJEPA21Config(
        pixels=PixelConfig(patch=16, mean=IMAGENET_MEAN, std=IMAGENET_STD),
        encoder=encoder,
        predictor=TransformerConfig(width=384, depth=24, heads=12, mlp_width=1536),
        levels=levels,
        equalise="head",
    )


PRESETS = {
    "tiny": tiny,
    "small": small,
    "vit-b16": partial(published, VIT_B, (2, 5, 8, 11)),
    "vit-l16": partial(published, VIT_L, (5, 11, 17, 23)),
    "vit-g16": partial(published, VIT_G, (9, 19, 29, 39)),
    "vit-gg16": partial(published, VIT_GG, (11, 23, 37, 47)),
}
ENTRY = Entry(
    config=VJEPA21Config,
    module=VJEPA21,
    presets=PRESETS,
    encoder=lambda module: CameraEncoder(module.cameras, module.config.encoder.width, module.tokens),
)
