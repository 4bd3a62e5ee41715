"""Where all randomness of an episode comes from: a seed for each purpose, so that none shares numbers with another."""

import zlib

import numpy as np

COLLECTED, HELD_OUT, WORLD, TWINS, DRIVER, RANDOM_GOAL = range(6)
"""Purposes: what happens in an episode that is collected, or drawn by evaluation; the world that it happens in; the
worlds that its twins are drawn in; who drives; start and goal of an evaluation between any two states."""


def episode_seed(env_id: str, seed: int, purpose: int, episode_id: int) -> np.random.SeedSequence:
    """A function of these arguments alone."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(env_id.encode()), purpose, episode_id))
