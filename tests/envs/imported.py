"""Imports a whole data set into a store, and says how near its pictures are."""

from pathlib import Path

import numpy as np
from PIL import Image

from envs.interchange.importing import import_episodes
from envs.interchange.source import Frame, Source


def fit(frame: Frame) -> Frame:
    return np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BOX))


def import_all(source: Source, out: Path, **changes: object) -> Path:
    arguments = {"description": source.description, "limits": None, "fit": fit, "image_size": 32, **changes}
    import_episodes(source, out, **arguments)
    return out


def psnr_db(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Likeness of each two frames, [n]."""
    error = ((one.astype(float) - other.astype(float)) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 1e-9))
