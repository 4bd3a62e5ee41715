"""Where all randomness of an episode comes from: a seed for each purpose, so that none shares numbers with another."""

import zlib

import numpy as np

COLLECTED, DEVELOPMENT, WORLD, TWINS, DRIVER, DEVELOPMENT_RANDOM_GOAL, TEST, TEST_RANDOM_GOAL = range(8)
"""Purposes: an episode that is collected, or held out for one of the two splits of evaluation; the world that it
happens in; the worlds of its twins; its driver; start and goal of an evaluation between any two states, by split."""


def episode_seed(env_id: str, seed: int, purpose: int, episode_id: int) -> np.random.SeedSequence:
    """A function of these arguments alone."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(env_id.encode()), purpose, episode_id))
