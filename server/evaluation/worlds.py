"""Worlds that a model is evaluated in: the nominal one it was trained in, and others that differ in a factor."""

import dataclasses

import numpy as np

from envs.variation import Variation

NOMINAL, ALL = "nominal", "all factors"


def world_names(variation: type[Variation]) -> tuple[str, ...]:
    """The nominal world, one for each factor of variation, and one where all are drawn."""
    return NOMINAL, *(field.name for field in dataclasses.fields(variation)), ALL


def draw_world(variation: type[Variation], name: str, rng: np.random.Generator) -> Variation:
    """Draw the world called `name`, each of its factors from its whole range."""
    if name == NOMINAL:
        return variation()
    return variation.sample(rng) if name == ALL else variation.sample_one(name, rng)
