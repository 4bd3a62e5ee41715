"""Encoders: one feature vector an image, and a clear word when the image does not fit."""

import pytest
import torch

from worldmodel.parts.encoders import ConvConfig, ConvEncoder, ViTConfig, ViTEncoder, build_encoder

CONV = ConvConfig(channels=(8, 16), kernels=(4, 3), strides=(4, 2), groups=4)
VIT = ViTConfig(patch=8, width=12, depth=2, heads=3)


@pytest.mark.parametrize(("config", "width"), [(CONV, 16 * 4 * 4), (VIT, 12)])
def test_one_vector_an_image(config: ConvConfig | ViTConfig, width: int) -> None:
    encoder = build_encoder(config, image_px=32)
    assert encoder.width == width
    assert encoder(torch.randn(3, 3, 32, 32)).shape == (3, width)


@pytest.mark.parametrize("config", [CONV, VIT])
def test_images_of_a_batch_do_not_mix(config: ConvConfig | ViTConfig) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(config, image_px=32).eval()
    images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [CONV, VIT])
def test_every_corner_of_the_image_is_seen(config: ConvConfig | ViTConfig) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(config, image_px=32).eval()
    image = torch.zeros(1, 3, 32, 32)
    plain = encoder(image)
    for row in (0, 31):
        for column in (0, 31):
            dotted = image.clone()
            dotted[..., row, column] = 5.0
            assert not torch.allclose(encoder(dotted), plain, atol=1e-7), (row, column)


def test_moving_a_patch_changes_the_vision_transformers_feature() -> None:
    """Without its positions a transformer is blind to order."""
    torch.manual_seed(0)
    encoder = ViTEncoder(VIT, image_px=16).eval()
    image = torch.randn(1, 3, 16, 16)
    assert not torch.allclose(encoder(image), encoder(image.roll(8, dims=-1)), atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 4), (3, 2), (4, 2), (1, 1), (3, 1), (8, 4)])
def test_a_stage_shrinks_the_image_by_its_stride(kernel: int, stride: int) -> None:
    encoder = ConvEncoder(ConvConfig(channels=(8,), kernels=(kernel,), strides=(stride,)), image_px=16)
    assert encoder(torch.randn(2, 3, 16, 16)).shape == (2, encoder.width) == (2, 8 * (16 // stride) ** 2)


@pytest.mark.parametrize("image_px", [8, 40])
def test_images_that_feature_maps_do_not_tile_are_refused(image_px: int) -> None:
    with pytest.raises(ValueError, match=f"image side {image_px} px must be a multiple of 16 px"):
        ConvEncoder(ConvConfig(), image_px=image_px)


def test_images_that_patches_do_not_tile_are_refused() -> None:
    with pytest.raises(ValueError, match="30 px must be a multiple of the patch, 8 px"):
        ViTEncoder(VIT, image_px=30)
