"""Untrusted image bytes to RGB pixels. Size and format are read from the header, by us, before any decoder runs."""

import io
import struct
from collections.abc import Mapping

import numpy as np
from PIL import Image

from server import schemas
from server.errors import Code, ServiceError, refuse
from server.settings import Settings
from telos.images import sniff_format

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF_ORIENTATION = 0x0112
_MOST_PARTS = 8192
"""Chunks of a PNG; segments and fill bytes of a JPEG. Some millions fit into a file, and take a decoder seconds."""


def decode_image(data: bytes, declared_format: str, pointer: str, settings: Settings) -> np.ndarray:
    """RGB uint8 [height width 3]. Raises ServiceError (image-rejected) that names the field at `pointer`."""
    _check_header(data, declared_format, pointer, settings)
    try:
        with Image.open(io.BytesIO(data), formats=[declared_format.upper()]) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise rejected(pointer, f"holds {image.n_frames} frames; send one still image")  # type: ignore[attr-defined]
            if image.mode not in ("RGB", "L"):
                raise rejected(pointer, f"has pixels of mode {image.mode}; send 8-bit RGB or greyscale without alpha")
            if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
                raise rejected(pointer, "is rotated by its EXIF tag; send it upright, without the tag")
            return np.asarray(image.convert("RGB"))
    except ServiceError:
        raise
    except Exception as error:
        # Decoders of hostile bytes raise anything, also warnings made errors. What they say is not for the client.
        raise rejected(pointer, f"cannot be decoded as {declared_format}; send a complete, valid file") from error


def check_images(images: Mapping[str, schemas.Image], settings: Settings) -> None:
    """The headers of all images of one request, by their pointers. Raises ServiceError (image-rejected)."""
    pixels = 0
    for pointer, image in images.items():
        pixels += _check_header(image.encoded, image.format, pointer, settings)
        if pixels > settings.max_request_pixels:
            most = f"at most {settings.max_request_pixels} are taken; send smaller or fewer images"
            raise rejected(pointer, f"makes it {pixels} pixels in one request; {most}")


def rejected(pointer: str, reason: str) -> ServiceError:
    return refuse(Code.IMAGE_REJECTED, pointer, f"the image {reason}")


def _check_header(data: bytes, declared_format: str, pointer: str, settings: Settings) -> int:
    """How many pixels it says that there are."""
    if len(data) > settings.max_image_bytes:
        raise rejected(pointer, f"has {len(data)} bytes; at most {settings.max_image_bytes} are taken")
    try:
        found = sniff_format(data)
    except ValueError:
        raise rejected(pointer, f"has {len(data)} bytes that are no JPEG, PNG or WebP file") from None
    if found != declared_format:
        raise rejected(pointer, f"is declared as {declared_format} but is {found}; send the format that it has")
    try:
        width, height = _SIZES[found](data)
    except (struct.error, IndexError):
        what = f"has no readable {found} header, is cut off, or has too many parts"
        raise rejected(pointer, f"{what}; send a complete, valid file") from None
    low, high = settings.min_image_side_px, settings.max_image_side_px
    if not (low <= width <= high and low <= height <= high) or width * height > settings.max_image_pixels:
        wanted = f"sides of {low}..{high} px and at most {settings.max_image_pixels} pixels"
        raise rejected(pointer, f"is {width} x {height} px; wanted {wanted}")
    return width * height


def _png_size(data: bytes) -> tuple[int, int]:
    at = 8
    for _ in range(_MOST_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        at += 12 + length
    raise IndexError


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":  # the canvas, which is what a decoder allocates
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(_MOST_PARTS):
        marker = data[at]
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 4)
            return width, height
        if marker == 0xFF:  # begins a marker; more of it may fill the space before one
            at += 1
        else:
            at += 1 + struct.unpack_from(">H", data, at + 1)[0]
    raise IndexError


_SIZES = {"png": _png_size, "jpeg": _jpeg_size, "webp": _webp_size}
