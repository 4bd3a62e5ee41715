"""Encoder and predictor of a masked JEPA against an independent implementation: loops over tokens and heads."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tests.worldmodel.parts.test_positions import naive
from worldmodel.parts.attentive_probe import AttentiveProbe
from worldmodel.parts.masked import MaskedEncoder, MaskedPredictor
from worldmodel.parts.masks import Blocks, TokenSet, complementary, equalised
from worldmodel.parts.positions import RotaryPositions, SinCosPositions, coordinates
from worldmodel.parts.tokenizers import PixelNorm, TubeletTokenizer
from worldmodel.parts.transformer import Transformer, TransformerBlock, TransformerConfig, initialise

GRID = (2, 3, 3)
WIDE = TransformerConfig(width=24, depth=2, heads=2, mlp_width=40)
NARROW = TransformerConfig(width=16, depth=2, heads=1, mlp_width=24)


def restless(module: nn.Module) -> nn.Module:
    """Every weight and norm away from where it begins."""
    generator = Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return module.eval().requires_grad_(False)


def norm(tokens: Tensor, layer: nn.Module) -> Tensor:
    assert isinstance(layer, nn.LayerNorm)
    centred = tokens - tokens.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * layer.weight + layer.bias


def attend(tokens: Tensor, block: TransformerBlock, places: list[list[float]] | None) -> Tensor:
    """Attention of one sample [k d], head by head and query by query."""
    attention, width = block.attention, tokens.shape[1]
    query, key, value = (tokens @ attention.to_qkv.weight.T + attention.to_qkv.bias).split(width, dim=1)
    each = width // attention.heads
    heads = []
    for head in range(attention.heads):
        q, k, v = (part[:, head * each : (head + 1) * each] for part in (query, key, value))
        if places is not None:
            q, k = (
                torch.tensor([naive(row.tolist(), at, False) for row, at in zip(part, places, strict=True)])
                for part in (q, k)
            )
        weights = torch.stack([torch.softmax(torch.stack([a @ b / math.sqrt(each) for b in k]), 0) for a in q])
        heads.append(weights @ v)
    return torch.cat(heads, dim=1) @ attention.to_out.weight.T + attention.to_out.bias


def transformed(tokens: Tensor, transformer: Transformer, places: list[list[float]] | None) -> Tensor:
    for block in transformer.blocks:
        assert isinstance(block, TransformerBlock)
        tokens = tokens + attend(norm(tokens, block.norm_attention), block, places)
        tokens = tokens + block.mlp(norm(tokens, block.norm_mlp))
    return tokens


def encoder(rotary: bool) -> MaskedEncoder:
    positions = RotaryPositions(WIDE.width // WIDE.heads, GRID) if rotary else SinCosPositions(WIDE.width, GRID)
    module = restless(MaskedEncoder(WIDE, TubeletTokenizer(WIDE.width, 4, 2), positions))
    assert isinstance(module, MaskedEncoder)
    return module


def pixels(frames: int = 4) -> Tensor:
    return torch.randn(2, 3, frames, 12, 12, generator=Generator().manual_seed(1))


def masks() -> tuple[TokenSet, TokenSet]:
    return complementary(Blocks(count=2, area=(0.3, 0.3)), GRID, 2, "random", Generator().manual_seed(1))


def tubelets(clip: Tensor, layer: nn.Conv3d) -> Tensor:
    """Tokens of one clip [3 t height width], one after another by slot, row and column."""
    bias, weight = layer.bias, layer.weight.flatten(1)
    assert bias is not None
    return torch.stack(
        [
            weight @ clip[:, 2 * t : 2 * t + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten() + bias
            for t in range(clip.shape[1] // 2)
            for row in range(3)
            for column in range(3)
        ]
    )


@pytest.mark.parametrize("rotary", [False, True])
def test_the_encoder_sees_the_given_tokens_only(rotary: bool) -> None:
    module, clips, (visible, _) = encoder(rotary), pixels(), masks()
    places = coordinates(GRID).tolist()
    found = module(clips, visible)
    assert isinstance(module.tokenizer, TubeletTokenizer)
    for sample in range(2):
        tokens, index = tubelets(clips[sample], module.tokenizer.project), visible.index[sample].tolist()
        if isinstance(module.positions, SinCosPositions):
            tokens = tokens + module.positions.table
        at = [places[place] for place in index] if rotary else None
        wanted = norm(transformed(tokens[index], module.transformer, at), module.norm)
        torch.testing.assert_close(found[sample], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
def test_the_predictor_reads_context_and_mask_tokens_side_by_side(rotary: bool) -> None:
    positions = RotaryPositions(16, GRID) if rotary else SinCosPositions(16, GRID)
    module = restless(MaskedPredictor(NARROW, nn.Linear(24, 16), positions, kinds=2))
    assert isinstance(module, MaskedPredictor) and isinstance(module.enter, nn.Linear)
    (visible, hidden), places = masks(), coordinates(GRID).tolist()
    encoded = torch.randn(2, visible.index.shape[1], 24, generator=Generator().manual_seed(2))
    shift = torch.randn(16, generator=Generator().manual_seed(3))
    seen, asked = module(encoded, visible, hidden, kind=1, shift=shift)
    for sample in range(2):
        index = [*visible.index[sample].tolist(), *hidden.index[sample].tolist()]
        entered = encoded[sample] @ module.enter.weight.T + module.enter.bias
        tokens = torch.cat([entered, module.mask_tokens[1].expand(hidden.index.shape[1], -1)]) + shift
        if isinstance(positions, SinCosPositions):
            tokens = tokens + positions.table[index]
        at = [places[place] for place in index] if rotary else None
        wanted = norm(transformed(tokens, module.transformer, at), module.norm)
        torch.testing.assert_close(torch.cat([seen[sample], asked[sample]]), wanted, rtol=0, atol=1e-5)


def test_padding_changes_nothing_for_real_tokens() -> None:
    """Samples padded to one length are encoded and predicted as each would be alone."""
    module, clips = encoder(True), pixels()
    is_hidden = torch.arange(18) % torch.tensor([[2], [5]]) == 0
    visible, hidden = (equalised(each, "pad", Generator()) for each in (~is_hidden, is_hidden))
    predictor = restless(MaskedPredictor(NARROW, nn.Linear(24, 16), RotaryPositions(16, GRID)))
    assert visible.real is not None and hidden.real is not None and not (visible.real.all() and hidden.real.all())
    encoded = module(clips, visible)
    _, asked = predictor(encoded, visible, hidden)
    for sample in range(2):
        own = [TokenSet(each.index[sample][each.real[sample]][None]) for each in (visible, hidden)]  # type: ignore[index]
        alone = module(clips[sample : sample + 1], own[0])
        torch.testing.assert_close(encoded[sample][visible.real[sample]], alone[0], rtol=0, atol=1e-5)
        _, wanted = predictor(alone, *own)
        torch.testing.assert_close(asked[sample][hidden.real[sample]], wanted[0], rtol=0, atol=1e-5)


def test_a_single_frame_is_a_tubelet_of_equal_frames() -> None:
    module, picture = encoder(False), pixels(1)
    assert torch.equal(module.tokenizer(picture), module.tokenizer(picture.expand(-1, -1, 2, -1, -1)))
    assert module(picture).shape == (2, 9, 24)
    with pytest.raises(ValueError, match="a clip has 3 frames; wanted 1, or a multiple of the tubelet's 2"):
        module.tokenizer(pixels(3))


def test_pixels_are_normalised_by_channel() -> None:
    frames = torch.randint(0, 256, (2, 3, 4, 5, 3), dtype=torch.uint8, generator=Generator().manual_seed(0))
    mean, std = (0.1, 0.5, 0.7), (0.2, 0.5, 1.0)
    wanted = ((frames.double() / 255 - torch.tensor(mean)) / torch.tensor(std)).movedim(-1, 1).float()
    torch.testing.assert_close(PixelNorm(mean, std)(frames), wanted, rtol=0, atol=1e-5)


def test_levels_are_the_outputs_of_their_blocks() -> None:
    transformer, tokens = Transformer(WIDE), torch.randn(1, 5, 24, generator=Generator().manual_seed(0))
    first, last = transformer.levels(tokens, (0, 1))
    assert torch.equal(first, transformer.blocks[0](tokens, None, None))
    assert torch.equal(last, transformer.blocks[1](first, None, None)) and torch.equal(last, transformer(tokens))


def test_weights_begin_small_and_smaller_in_deeper_residuals() -> None:
    transformer = Transformer(TransformerConfig(width=128, depth=4, heads=2, mlp_width=256)).requires_grad_(False)
    initialise(transformer)
    for depth, block in enumerate(transformer.blocks, start=1):
        assert isinstance(block, TransformerBlock)
        assert float(block.attention.to_qkv.weight.std()) == pytest.approx(0.02, rel=0.05)
        assert float(block.attention.to_out.weight.std()) == pytest.approx(0.02 / math.sqrt(2 * depth), rel=0.05)
        assert not block.attention.to_qkv.bias.any()


def test_the_attentive_probe() -> None:
    probe = restless(AttentiveProbe(24, 2, 5))
    assert isinstance(probe, AttentiveProbe)
    tokens = torch.randn(3, 7, 24, generator=Generator().manual_seed(0))
    keys, values = probe.to_keys_values(norm(tokens, probe.norm_tokens)).split(24, dim=-1)
    asked, found = probe.to_query(probe.query), []
    for head in range(2):
        part = slice(12 * head, 12 * head + 12)
        weights = torch.softmax(keys[..., part] @ asked[part] / math.sqrt(12), dim=-1)  # [b n]
        found.append((weights[..., None] * values[..., part]).sum(1))
    pooled = probe.query + torch.cat(found, dim=-1)
    first, second = probe.mlp[1], probe.mlp[3]
    hidden = F.gelu(first(norm(pooled, probe.mlp[0])))
    wanted = probe.read(pooled + second(hidden))
    torch.testing.assert_close(probe(tokens), wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(probe(tokens), probe(tokens.flip(1)), rtol=0, atol=1e-5)
