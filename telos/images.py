"""Camera images as the wire carries them."""

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


def checked_image(image: ImageLike) -> ImageLike:
    """The image itself. Raises ValueError for anything but an image."""
    if isinstance(image, bytes):
        sniff_format(image)
        return image
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        wanted = "a uint8 array [height, width, 3] in RGB order, or the bytes of a JPEG, PNG or WebP file"
        raise ValueError(f"image is {described(image)}; wanted {wanted}")
    return array


def described(value: object) -> str:
    """A few words for a value that is not an image, for error messages."""
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array {list(value.shape)}"
    if value is None or isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return f"the text {value[:40]!r}"
    return f"of type {type(value).__name__}"


def encode_image(image: ImageLike, image_format: Format) -> dict[str, Any]:
    """Fields of a wire Image. Bytes count as an encoded file. Raises ValueError for anything but an image."""
    image = checked_image(image)
    if isinstance(image, bytes):
        return {"encoded": image, "format": sniff_format(image)}
    file = io.BytesIO()
    Image.fromarray(image).save(file, format=image_format, **_SAVE_OPTIONS[image_format])
    return {"encoded": file.getvalue(), "format": image_format}


def sniff_format(data: bytes) -> Format:
    """Format that the first bytes of a file announce. Raises ValueError unless the server reads it."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise ValueError("the bytes do not start like a JPEG, PNG or WebP file; send an image in one of these formats")
