"""Decodes untrusted images. Size and format are read from the header here, before any decoder runs."""

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from server import schemas
from server.errors import Code, ServiceError, refuse
from server.settings import Settings
from telos.images import sniff_format

_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF_ORIENTATION = 0x0112
_MOST_PARTS = 8192
"""Most chunks of a PNG, or segments and fill bytes of a JPEG. Millions would keep a decoder busy for seconds."""


@dataclass(frozen=True)
class CheckedImage:
    """An image file whose header `check_image` has accepted. Only such a file is decoded."""

    data: bytes
    format: str
    pointer: str
    """Place of the image in the request."""
    width: int
    """Width in pixels by the header."""
    height: int
    """Height in pixels by the header."""

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


def check_images(images: Mapping[str, schemas.Image], settings: Settings) -> dict[str, CheckedImage]:
    """Check the headers of all images of a request, by their pointers. Raises ServiceError (image-rejected)."""
    checked: dict[str, CheckedImage] = {}
    pixels = 0
    for pointer, image in images.items():
        checked[pointer] = check_image(image.encoded, image.format, pointer, settings)
        pixels += checked[pointer].pixels
        if pixels > settings.max_request_pixels:
            most = f"at most {settings.max_request_pixels} are taken; send smaller or fewer images"
            raise rejected(pointer, f"makes it {pixels} pixels in one request; {most}")
    return checked


def check_image(data: bytes, declared_format: str, pointer: str, settings: Settings) -> CheckedImage:
    """Check size and format by the header alone. Raises ServiceError (image-rejected) that names `pointer`."""
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
    return CheckedImage(data, found, pointer, width, height)


def decode_image(checked: CheckedImage) -> np.ndarray:
    """Pixels, RGB uint8 [height width 3]. Raises ServiceError (image-rejected) that names the image's pointer."""
    pointer = checked.pointer
    try:
        with Image.open(io.BytesIO(checked.data), formats=[checked.format.upper()]) as image:
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
        # Hostile bytes make decoders raise anything, warnings included. Their messages are not for the client.
        raise rejected(pointer, f"cannot be decoded as {checked.format}; send a complete, valid file") from error


def rejected(pointer: str, reason: str) -> ServiceError:
    """Error for the image at `pointer`."""
    return refuse(Code.IMAGE_REJECTED, pointer, f"the image {reason}")


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
    if kind == b"VP8X":  # the canvas size, which a decoder allocates
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
        if marker == 0xFF:  # 0xFF begins a marker; more of them may fill the space before it
            at += 1
        else:
            at += 1 + struct.unpack_from(">H", data, at + 1)[0]
    raise IndexError


_SIZES = {"png": _png_size, "jpeg": _jpeg_size, "webp": _webp_size}
