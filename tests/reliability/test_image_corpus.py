"""Files that are no good images (4): each refused quickly, in little memory, whatever its decoder would do."""

import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from server.engine.images import check_image, decode_image
from server.errors import Code, ServiceError
from server.settings import Settings
from tests.attacks.test_image_attacks import FILES as SMALL_FILES
from tests.attacks.test_image_attacks import chunk, png_of
from tests.reliability.report import Measure
from tests.server.live import encoded

pytestmark = [pytest.mark.reliability(4), pytest.mark.alone]

REFUSED_WITHIN_MS = 20.0
MEMORY_MIB = 16.0
GREY = Image.new("RGB", (64, 48), "grey")
BOMB = zlib.compress(bytes(300 * 2**20), 9)


def with_chunk(kind: bytes, data: bytes) -> bytes:
    """A good PNG with one more chunk before its pixels."""
    good = encoded(GREY, "png")
    return good[:33] + chunk(kind, data) + good[33:]


def with_segment(marker: int, data: bytes) -> bytes:
    """A good JPEG with one more segment at its beginning."""
    good = encoded(GREY, "jpeg")
    return good[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + good[2:]


def pixels_beyond_the_header() -> bytes:
    """300 MiB of pixels for 64 x 64."""
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", BOMB[:-9]) + chunk(b"IEND", b"")


def lying_webp() -> bytes:
    """A canvas of 64 x 64 around a frame of 16383 x 16383."""
    frame = b"VP8 " + struct.pack("<I", 30) + b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + bytes(20)
    canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (63).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(canvas) + len(frame)) + b"WEBP" + canvas + frame


def exif_loop() -> bytes:
    """A directory of tags whose next directory is itself."""
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + struct.pack("<HHII", 0x0112, 3, 1, 6) + struct.pack("<I", 8)
    return with_segment(0xE1, b"Exif\0\0" + tiff)


def exif_of_gigabytes() -> bytes:
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<H", 60000) + struct.pack("<HHII", 0x0112, 4, 2**31, 2**31) * 3
    return with_segment(0xE1, b"Exif\0\0" + tiff)


def orientation(value: int, image_format: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encoded(GREY, image_format, exif=exif)


LARGE_FILES: dict[str, tuple[bytes, str]] = {
    "ICC profile that inflates": (with_chunk(b"iCCP", b"x\0\0" + BOMB), "png"),
    "text that inflates": (with_chunk(b"zTXt", b"x\0\0" + BOMB), "png"),
    "international text that inflates": (with_chunk(b"iTXt", b"x\0\1\0\0\0" + BOMB), "png"),
    "WebP frame beyond its canvas": (lying_webp(), "webp"),
    "EXIF directory in a circle": (exif_loop(), "jpeg"),
    "JPEG of 4 MB of comments": (encoded(GREY, "jpeg")[:2] + b"\xff\xfe\xff\xff" * 10**6, "jpeg"),
    "JPEG of 100 scans": (encoded(GREY, "jpeg", progressive=True)[:-2] * 100, "jpeg"),
    "16-bit RGB": (png_of(64, 64).replace(b"\x08\x02\0\0\0", b"\x10\x02\0\0\0"), "png"),
    "JPEG of a million empty segments": (encoded(GREY, "jpeg")[:2] + b"\xff\xfe\x00\x02" * 10**6, "jpeg"),
    "JPEG of 4 MB of fill bytes": (b"\xff\xd8" + b"\xff" * (4 * 2**20 - 2), "jpeg"),
    "PNG of 300000 empty chunks": (encoded(GREY, "png")[:33] + chunk(b"tEXt", b"") * 300_000, "png"),
    **{f"JPEG with orientation {value}": (orientation(value, "jpeg"), "jpeg") for value in range(2, 9)},
    "PNG with orientation 3": (orientation(3, "png"), "png"),
    "WebP with orientation 8": (orientation(8, "webp"), "webp"),
}
FILES = SMALL_FILES | LARGE_FILES

HARMLESS: dict[str, tuple[bytes, str]] = {
    "pixels beyond the header": (pixels_beyond_the_header(), "png"),
    "EXIF tag of gigabytes": (exif_of_gigabytes(), "jpeg"),
}
"""What decoders skip; refusing it is as good."""


def refusal_ms(name: str) -> float:
    """Time of this thread until the file was refused."""
    data, declared = FILES[name]
    began = time.thread_time()
    with pytest.raises(ServiceError) as caught:
        decode_image(check_image(data, declared, "/goals/0", Settings()))
    took_ms = (time.thread_time() - began) * 1e3
    assert caught.value.code is Code.IMAGE_REJECTED and caught.value.errors[0].pointer == "/goals/0"
    return took_ms


@pytest.mark.parametrize("name", FILES)
def test_refused_quickly(name: str, measure: Measure) -> None:
    measure(f"refused, {name}", min(refusal_ms(name) for _ in range(2)), at_most=REFUSED_WITHIN_MS, unit="ms")


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_beside_the_pixels_costs_nothing(name: str, measure: Measure) -> None:
    data, declared = HARMLESS[name]
    began = time.thread_time()
    try:
        assert decode_image(check_image(data, declared, "", Settings())).shape == (48 if "EXIF" in name else 64, 64, 3)
    except ServiceError as error:
        assert error.code is Code.IMAGE_REJECTED
    measure(f"over, {name}", (time.thread_time() - began) * 1e3, at_most=REFUSED_WITHIN_MS, unit="ms")


def test_the_whole_corpus_takes_little_memory(measure: Measure) -> None:
    """In a process of its own, whose largest memory ever is known."""
    command = [sys.executable, "-m", "tests.reliability.test_image_corpus"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    measure("memory to refuse the whole corpus", float(ended.stdout), at_most=MEMORY_MIB, unit="MiB")


@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_upright_by_its_tag_is_upright(image_format: str) -> None:
    """The one orientation that is taken; the other seven are refused above, since a camera knows how it is held."""
    pixels = decode_image(check_image(orientation(1, image_format), image_format, "", Settings()))
    assert pixels.shape == (48, 64, 3)


def forget_peak() -> None:
    """What this module made at its import was larger than anything that is measured."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_mib() -> float:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


if __name__ == "__main__":
    decode_image(check_image(encoded(GREY, "jpeg"), "jpeg", "", Settings()))
    decode_image(check_image(encoded(GREY, "webp"), "webp", "", Settings()))
    forget_peak()
    before = peak_mib()
    for each in FILES:
        refusal_ms(each)
    sys.stdout.write(str(peak_mib() - before))
