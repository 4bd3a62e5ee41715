"""Resizing: one place, to the pixel, for training, serving and evaluation."""

import numpy as np
import pytest
from worldmodel.data.preprocessing import fit_image

from worldmodel.errors import CheckpointError
from worldmodel.manifest import ObservationSpec


def spec(height_px: int, width_px: int, resize: str = "area") -> ObservationSpec:
    return ObservationSpec(camera="top", height_px=height_px, width_px=width_px, resize=resize)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = picture(32, 48)
    assert fit_image(image, spec(32, 48)) is image


@pytest.mark.parametrize("resize", ["area", "bilinear"])
def test_height_and_width_are_not_confused(resize: str) -> None:
    assert fit_image(picture(100, 60), spec(32, 48, resize)).shape == (32, 48, 3)


def test_area_is_the_mean_of_the_covered_pixels() -> None:
    """Blocks of 2 x 2 pixels, averaged by hand; rows, then columns are rounded half up, so one level may be added."""
    image = picture(64, 64)
    blocks = image.reshape(32, 2, 32, 2, 3).astype(float).mean((1, 3))
    assert np.abs(fit_image(image, spec(32, 32)) - blocks).max() <= 1


def test_golden_resizes() -> None:
    """A ramp of 8 a pixel, halved. At the edge bilinear's triangle is cut: (3 * 0 + 3 * 8 + 1 * 16) / 7 = 5.7."""
    ramp = np.zeros((32, 32, 3), np.uint8)
    ramp[..., 0] = (8 * np.arange(32))[None, :]
    assert fit_image(ramp, spec(16, 16, "area"))[5, :6, 0].tolist() == [4, 20, 36, 52, 68, 84]
    assert fit_image(ramp, spec(16, 16, "bilinear"))[5, :6, 0].tolist() == [6, 20, 36, 52, 68, 84]


def test_colour_channels_keep_their_places() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[...] = (10, 20, 30)
    assert (fit_image(image, spec(32, 32)) == (10, 20, 30)).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32, 3), np.float32),
        np.zeros((32, 32), np.uint8),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((3, 32, 32), np.uint8),
        np.zeros((1, 32, 32, 3), np.uint8),
    ],
    ids=["float", "grey", "alpha", "channels first", "batch"],
)
def test_what_is_not_an_rgb_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="wanted uint8"):
        fit_image(image, spec(32, 32))


@pytest.mark.parametrize("wrong", [{"resize": "lanczos"}, {"height_px": 8}, {"width_px": 5000}])
def test_a_size_or_filter_that_this_build_does_not_know_is_refused(wrong: dict) -> None:
    with pytest.raises(CheckpointError, match="observation"):
        ObservationSpec(**{"camera": "top", "height_px": 32, "width_px": 32, **wrong})
