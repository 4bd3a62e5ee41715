"""Resizing camera images to what the encoder was trained on: the one place, for training, serving and evaluation."""

import numpy as np
from PIL import Image

from worldmodel.manifest import ObservationSpec

_FILTERS = {"area": Image.Resampling.BOX, "bilinear": Image.Resampling.BILINEAR}


def fit_image(image: np.ndarray, spec: ObservationSpec) -> np.ndarray:
    """RGB uint8 [h w 3] to [height_px width_px 3] with the manifest's filter; an image of that size is left alone.

    Raises ValueError for anything that is not an RGB uint8 image.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} {list(image.shape)}; wanted uint8 [height, width, 3] in RGB order")
    if image.shape[:2] == (spec.height_px, spec.width_px):
        return image
    resized = Image.fromarray(image).resize((spec.width_px, spec.height_px), _FILTERS[spec.resize])
    return np.asarray(resized)
