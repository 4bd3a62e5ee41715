"""Camera images on their way to the server."""

import io
from typing import Any, Literal

import numpy as np
from PIL import Image

ImageLike = np.ndarray | bytes
"""RGB uint8 [height, width, 3], or the bytes of a JPEG, PNG or WebP file."""

Format = Literal["png", "jpeg", "webp"]

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"lossless": True, "method": 0},
}


def encode_image(image: ImageLike, image_format: Format) -> dict[str, Any]:
    """The fields of a wire Image. Bytes are taken to be a file already. Raises ValueError for what is no image."""
    if isinstance(image, bytes):
        return {"encoded": image, "format": sniff_format(image)}
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"image is {array.dtype} {list(array.shape)}; wanted uint8 [height, width, 3] in RGB order")
    file = io.BytesIO()
    Image.fromarray(array).save(file, format=image_format, **_SAVE_OPTIONS[image_format])
    return {"encoded": file.getvalue(), "format": image_format}


def sniff_format(data: bytes) -> Format:
    """The format that the first bytes of a file announce. Raises ValueError when it is none that the server reads."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise ValueError("the bytes start like no JPEG, PNG or WebP file")
