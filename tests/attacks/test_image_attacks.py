"""Hostile files, straight into the decoder: refused by their header, quickly, and without a large allocation."""

import random
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from server import schemas
from server.engine.images import check_image, check_images, decode_image
from server.errors import Code, ServiceError
from server.settings import Settings
from tests.server.live import encoded, picture

SETTINGS = Settings()
GREY = Image.new("RGB", (64, 48), "grey")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def webp_of(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x00\x10\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + canvas + bytes(100)


def jpeg_of(width: int, height: int) -> bytes:
    data = bytearray(encoded(GREY, "jpeg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(GREY, "jpeg", exif=exif)


def animation(image_format: str) -> bytes:
    return encoded(GREY, image_format, save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])


FILES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "png"),
    "one byte": (b"\x89", "png"),
    "signature only": (b"\x89PNG\r\n\x1a\n", "png"),
    "JPEG signature only": (b"\xff\xd8\xff", "jpeg"),
    "JPEG of fill bytes": (b"\xff\xd8" + b"\xff" * 10_000, "jpeg"),
    "JPEG of empty segments": (b"\xff\xd8" + b"\xff\xe0\x00\x00" * 10_000, "jpeg"),
    "WebP signature only": (b"RIFF\x00\x00\x00\x00WEBP", "webp"),
    "PNG of 30000 x 30000": (png_of(30_000, 30_000), "png"),
    "PNG of the largest size": (png_of(2**31 - 1, 2**31 - 1), "png"),
    "PNG of no size": (png_of(0, 0), "png"),
    "PNG of a line": (png_of(4096, 1), "png"),
    "PNG of too many pixels": (png_of(4096, 4096), "png"),
    "WebP of 16383 x 16383": (webp_of(16_383, 16_383), "webp"),
    "JPEG of 65535 x 65535": (jpeg_of(65_535, 65_535), "jpeg"),
    "header without pixels": (png_of(64, 64), "png"),
    "cut off PNG": (picture(1)["encoded"][:-400], "png"),
    "cut off JPEG": (picture(1, image_format="jpeg")["encoded"][:300], "jpeg"),
    "cut off WebP": (picture(1, image_format="webp")["encoded"][:300], "webp"),
    "PNG as JPEG": (encoded(GREY, "png"), "jpeg"),
    "GIF": (encoded(GREY, "gif"), "png"),
    "TIFF": (encoded(GREY, "tiff"), "png"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "png"),
    "pickle": (b"\x80\x04\x95cos\nsystem\n.", "png"),
    "animated WebP": (animation("webp"), "webp"),
    "animated PNG": (animation("png"), "png"),
    "alpha": (encoded(GREY.convert("RGBA"), "png"), "png"),
    "palette": (encoded(GREY.convert("P"), "png"), "png"),
    "CMYK": (encoded(GREY.convert("CMYK"), "jpeg"), "jpeg"),
    "16 bit": (encoded(Image.fromarray(np.zeros((48, 64), np.uint16)), "png"), "png"),
    "1 bit": (encoded(GREY.convert("1"), "png"), "png"),
    "rotated by EXIF": (rotated(), "jpeg"),
    "five megabytes": (b"\x89PNG\r\n\x1a\n" + bytes(5 * 2**20), "png"),
}


@pytest.mark.parametrize("name", FILES)
def test_hostile_files_are_refused_quickly(name: str) -> None:
    data, declared = FILES[name]
    started = time.thread_time()
    with pytest.raises(ServiceError) as caught:
        decode_image(check_image(data, declared, "/goals/0", SETTINGS))
    assert time.thread_time() - started < 0.2
    assert caught.value.code is Code.IMAGE_REJECTED
    assert caught.value.errors[0].pointer == "/goals/0"


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_good_files_are_taken(image_format: str, mode: str) -> None:
    pixels = decode_image(check_image(encoded(GREY.convert(mode), image_format), image_format, "", SETTINGS))
    assert pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - 128).max() <= 2


def test_lossless_files_are_taken_to_the_pixel() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    for image_format, options in (("png", {}), ("webp", {"lossless": True})):
        pixels = decode_image(check_image(encoded(noise, image_format, **options), image_format, "", SETTINGS))
        np.testing.assert_array_equal(pixels, np.asarray(noise))


@given(st.binary(max_size=300), st.sampled_from(["png", "jpeg", "webp"]))
@settings(max_examples=150, deadline=None)
def test_random_bytes_after_a_good_start(tail: bytes, image_format: str) -> None:
    start = encoded(GREY, image_format)[:40]
    with pytest.raises(ServiceError):
        decode_image(check_image(start + tail, image_format, "", SETTINGS))


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_flipped_bytes_are_an_image_or_refused(image_format: str) -> None:
    dice, whole = random.Random(0), picture(1, image_format=image_format)["encoded"]
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 10)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            pixels = decode_image(check_image(bytes(data), image_format, "", SETTINGS))
        except ServiceError as error:
            assert error.code is Code.IMAGE_REJECTED
        else:
            assert pixels.ndim == 3 and pixels.size <= 3 * SETTINGS.max_image_pixels


def test_a_text_chunk_that_inflates_is_refused_or_skipped() -> None:
    data = bytearray(encoded(GREY, "png"))
    bomb = chunk(b"zTXt", b"x\x00\x00" + zlib.compress(bytes(200 * 2**20), 9))
    data[33:33] = bomb
    started = time.thread_time()
    with pytest.raises(ServiceError):
        decode_image(check_image(bytes(data), "png", "", SETTINGS))
    assert time.thread_time() - started < 0.5


def test_many_images_that_are_fine_alone_are_refused_together_before_any_is_decoded() -> None:
    alone = schemas.Image(encoded=png_of(2880, 2880), format="png")
    check_images({f"/context/{index}": alone for index in range(4)}, SETTINGS)
    with pytest.raises(ServiceError) as caught:
        check_images({f"/context/{index}": alone for index in range(5)}, SETTINGS)
    assert caught.value.code == "image-rejected"
    assert "/context/4" in str(caught.value.errors)
    assert f"at most {SETTINGS.max_request_pixels}" in caught.value.detail
