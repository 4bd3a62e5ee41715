"""Worlds that a model is evaluated in: the nominal one it was trained in, and others that differ in a factor."""

import dataclasses
import zlib

import numpy as np

from envs.variation import Variation

NOMINAL, ALL = "nominal", "all factors"
_KEY = 3
"""Key of these random numbers; held-out episodes and random goals have others."""


def world_names(variation: type[Variation]) -> tuple[str, ...]:
    """The nominal world, one for each factor of variation, and one where all are drawn."""
    return NOMINAL, *(field.name for field in dataclasses.fields(variation)), ALL


def draw_world(variation: type[Variation], name: str, seed: int, episode: int) -> Variation:
    """Draw a world for one held-out episode, each factor from its whole range."""
    key = (zlib.crc32(f"{variation.__name__} {name}".encode()), _KEY, episode)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    if name == NOMINAL:
        return variation()
    return variation.sample(rng) if name == ALL else variation.sample_one(name, rng)
