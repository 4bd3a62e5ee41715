"""The plot of a training."""

import io
from collections.abc import Mapping, Sequence

import pytest
from PIL import Image

from server.film.curves import plot_curves
from worldmodel import HELD_OUT_CURVES

OF_PREDICTIONS = ("predict_mse", "copy_mse", "shuffled_mse")
OF_LATENTS = ("latent_std", "effective_rank")
OF_SPREAD = ("latent_std", "rank_me", "pairwise_cosine", "std_share", "rank_share", "cosine_gap_share")


def measured(*names: str) -> Mapping[str, Sequence[float]]:
    """Curves as manifests have them: those that were not measured are empty."""
    steps = {key: [1.0, 0.5, 0.2] for key in ("step", "predict", "evaluation_step")}
    return steps | {name: [1.0, 0.9, 0.8] if name in names else [] for name in HELD_OUT_CURVES}


@pytest.mark.parametrize(
    ("names", "width"),
    [((*OF_PREDICTIONS, *OF_LATENTS), 1200), (OF_LATENTS, 800), (OF_SPREAD, 800)],
    ids=["world model", "policy", "encoder alone"],
)
def test_curves_are_a_picture(names: tuple[str, ...], width: int) -> None:
    image = Image.open(io.BytesIO(plot_curves("tiny", measured(*names), latent_width=16)))
    assert image.format == "PNG" and image.width == width
