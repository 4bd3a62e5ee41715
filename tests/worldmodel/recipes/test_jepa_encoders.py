"""I-JEPA, V-JEPA, V-JEPA 2 and 2.1: their losses against the papers' formulas, and their targets."""

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from tests.contracts.recipes import clips_for, make, step_at
from tests.readings import random_observation
from tests.tiny import SEVERAL, TOP, WRIST
from worldmodel.clips import Clips
from worldmodel.observation import ObservationBatch, SensorSpec
from worldmodel.parts.masks import Grid, TokenSet, complementary
from worldmodel.recipe import Body, Step
from worldmodel.recipes import RECIPES, vjepa2_1
from worldmodel.recipes.vjepa2_1 import VJEPA21, VJEPA21Config, distance_weights, one_frame

NAMES = ("ijepa", "vjepa", "vjepa2", "vjepa2-1")
VIDEO = NAMES[1:]
every_encoder = pytest.mark.parametrize("name", NAMES)


def made(name: str, sensors: tuple[SensorSpec, ...] = (TOP,), **changes: Any) -> Any:
    entry = RECIPES[name]
    torch.manual_seed(0)
    return entry.module(dataclasses.replace(entry.presets["tiny"](), **changes), Body(sensors=sensors))


def layer_norm(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:])


@torch.no_grad()
def test_i_jepas_loss_is_that_of_its_paper_and_code() -> None:
    """Each block of each picture alone, in a loop."""
    module, batch = made("ijepa"), clips_for("ijepa", (TOP,))
    loss = module.losses(batch, step_at())["predict"]
    pixels = module.cameras.pixels(batch.sensors)
    context, blocks = module.config.masks.sample(module.grid, len(pixels), step_at().generator)
    wanted, errors = layer_norm(module.target(pixels)), []
    for picture in range(len(pixels)):
        seen = TokenSet(context.index[picture : picture + 1])
        encoded = module.encoder(pixels[picture : picture + 1], seen)
        for block in blocks:
            hidden = TokenSet(block.index[picture : picture + 1])
            predicted = module.leave(module.predictor(encoded, seen, hidden)[1])
            errors.append(F.smooth_l1_loss(predicted[0], wanted[picture, hidden.index[0]]))
    assert len(errors) == 4 * len(pixels)
    assert float(loss) == pytest.approx(float(torch.stack(errors).mean()), abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vjepa", "vjepa2"])
def test_v_jepas_loss_is_the_mean_over_its_two_masks(name: str) -> None:
    module, batch, generator = made(name), clips_for(name, (TOP,)), step_at().generator
    terms = module.losses(batch, step_at())
    pixels, config = module.cameras.pixels(batch.sensors), module.config
    wanted, errors = layer_norm(module.target(pixels)), []
    for kind, blocks in enumerate((config.short, config.long)):
        visible, hidden = complementary(blocks, module.grid, len(pixels), config.equalise, generator)
        token = kind if name == "vjepa" else 0
        predicted = module.leave(module.predictor(module.encoder(pixels, visible), visible, hidden, token)[1])
        errors.append((predicted - hidden.of(wanted)).abs().mean())
    assert float(terms["predict_short"] + terms["predict_long"]) == pytest.approx(float(sum(errors)) / 2, abs=1e-5)
    assert len(module.predictor.mask_tokens) == (2 if name == "vjepa" else 1)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {name: each.grad.clone() for name, each in module.named_parameters() if each.grad is not None}


class TestDenseLoss:
    """V-JEPA 2.1."""

    def test_training_reads_all_levels_and_serving_the_last(self) -> None:
        module = made("vjepa2-1")
        for each in module.encoder.norms:
            nn.init.normal_(each.weight)
        pixels = module.cameras.pixels(clips_for("vjepa2-1", (TOP,)).sensors)[:2]
        levels = module.encoder(pixels)
        tokens = module.encoder.clip_tokenizer(pixels) + module.encoder.modalities[1]
        rotation = module.encoder.positions.rotation(tokens.shape[1])
        wanted = []
        for block, norm in zip(module.encoder.transformer.blocks, module.encoder.norms, strict=True):
            tokens = block(tokens, rotation, None)
            wanted.append(norm(tokens))
        assert torch.equal(levels, torch.cat(wanted, dim=-1))
        module.target.follow(module.encoder, 0.0)
        torch.testing.assert_close(module.tokens(pixels).flatten(1, 2), wanted[-1])

    def test_pictures_and_clips_have_their_own_tokenizer_and_vector(self) -> None:
        module = made("vjepa2-1")
        clips = module.cameras.pixels(clips_for("vjepa2-1", (TOP,)).sensors)[:2]
        for pixels, used, other in (
            (clips[:, :, :1], "picture_tokenizer", "clip_tokenizer"),
            (clips, "clip_tokenizer", "picture_tokenizer"),
        ):
            module.zero_grad()
            module.encoder(pixels).square().sum().backward()
            assert getattr(module.encoder, used).project.weight.grad.any()
            assert getattr(module.encoder, other).project.weight.grad is None
            row = 0 if used == "picture_tokenizer" else 1
            assert module.encoder.modalities.grad[row].any() and not module.encoder.modalities.grad[1 - row].any()

    @pytest.mark.parametrize("how", ["random", "pad"])
    def test_distances_are_those_of_a_triple_loop(self, how: Any) -> None:
        grid: Grid = (2, 4, 5)
        for seed in range(10):
            config, generator = RECIPES["vjepa2-1"].presets["tiny"](), Generator().manual_seed(seed)
            visible, hidden = complementary(config.short, grid, 3, how, generator)
            weights = distance_weights(visible, hidden, grid)
            for sample in range(3):
                real = slice(None) if hidden.real is None else hidden.real[sample]
                for place, weight in zip(visible.index[sample].tolist(), weights[sample].tolist(), strict=True):
                    nearest = min(
                        math.dist(at(place, grid), at(other, grid)) for other in hidden.index[sample][real].tolist()
                    )
                    assert weight == pytest.approx(max(nearest, 1) ** -0.5, abs=1e-5)

    @torch.no_grad()
    def test_its_loss_is_that_of_the_paper(self) -> None:
        module, batch, generator = made("vjepa2-1"), clips_for("vjepa2-1", (TOP,)), step_at().generator
        terms, config = module.losses(batch, step_at()), module.config
        clips = module.cameras.pixels(batch.sensors)
        kinds = (
            (one_frame(clips, generator), (1, 4, 4), [config.pictures], 0),
            (clips, (2, 4, 4), [config.short, config.long], 1),
        )
        found: dict[int, list[tuple[float, float]]] = {0: [], 1: []}
        for pixels, grid, masks, kind in reversed(kinds):
            wanted = torch.cat([layer_norm(each) for each in module.target(pixels).chunk(2, -1)], dim=-1)
            for blocks in masks:
                visible, hidden = complementary(blocks, grid, len(pixels), "random", generator)
                encoded = module.encoder(pixels, visible)
                seen, asked = module.predictor(encoded, visible, hidden, shift=module.modalities[kind])
                masked = (module.leave_hidden(asked) - hidden.of(wanted)).abs().mean()
                dense = (module.leave_visible(seen) - visible.of(wanted)).abs().mean(-1)
                found[kind].append((float(masked), float((dense * distance_weights(visible, hidden, grid)).mean())))
        for kind, name in ((0, "pictures"), (1, "clips")):
            masked, dense = (sum(each) / len(found[kind]) for each in zip(*found[kind], strict=True))
            assert float(terms[f"predict_{name}"]) == pytest.approx(masked / 2, abs=1e-5)
            assert float(terms[f"visible_{name}"]) == pytest.approx(0.5 * dense / 2, abs=1e-5)

    def test_visible_tokens_count_late_and_then_in_full(self) -> None:
        config = RECIPES["vjepa2-1"].presets["small"]()
        assert isinstance(config, VJEPA21Config)
        shares = [config.visible_weight_at(progress) for progress in (0.0, 1 / 9, 1.5 / 9, 2 / 9, 1.0)]
        assert shares == pytest.approx([0, 0, 0.25, 0.5, 0.5]) and shares[:2] == [0, 0]

    def test_before_that_they_change_no_gradient(self) -> None:
        """To the bit what a run without the loss of visible tokens has, and none in their head."""
        batch, early = clips_for("vjepa2-1", (TOP,)), Step(5, 100, Generator().manual_seed(0))
        module: VJEPA21 = made("vjepa2-1", visible_from=0.1, visible_full=0.2)
        terms = module.losses(batch, early)
        torch.stack(list(terms.values())).sum().backward()
        dense = gradients(module)
        assert not any(gradient.any() for name, gradient in dense.items() if name.startswith("leave_visible"))
        module.zero_grad()
        terms = module.losses(batch, Step(5, 100, Generator().manual_seed(0)))
        torch.stack([value for name, value in terms.items() if name.startswith("predict")]).sum().backward()
        for name, gradient in gradients(module).items():
            assert torch.equal(gradient, dense[name]), name

    def test_a_frame_is_drawn_from_each_clip(self) -> None:
        clips = torch.arange(40.0).view(8, 1, 5, 1, 1).expand(-1, 3, -1, 2, 2)
        drawn = one_frame(clips, Generator().manual_seed(0))
        assert drawn.shape == (8, 3, 1, 2, 2)
        assert (drawn[:, 0, 0, 0, 0] // 5).tolist() == list(range(8))
        assert len(set((drawn[:, 0, 0, 0, 0] % 5).tolist())) > 1


def at(place: int, grid: Grid) -> tuple[int, int, int]:
    _, rows, columns = grid
    return place // (rows * columns), place // columns % rows, place % columns


@every_encoder
def test_the_target_moves_by_exactly_the_rest_of_its_momentum(name: str) -> None:
    module = made(name)
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            parameter.add_(1)
    before = [each.clone() for each in module.target.parameters()]
    step = Step(1, 4, Generator())
    module.after_step(step)
    momentum = module.config.momentum.at(0.25)
    for slow, fast, now in zip(before, module.encoder.parameters(), module.target.parameters(), strict=True):
        torch.testing.assert_close(now, momentum * slow + (1 - momentum) * fast.detach())


@every_encoder
def test_the_moving_average_is_what_is_served(name: str) -> None:
    module, observation = made(name).eval(), random_observation((TOP,), 2)
    make_encoder = RECIPES[name].encoder
    assert make_encoder is not None
    before = make_encoder(module).encode(observation).tokens
    for parameter in module.encoder.parameters():
        nn.init.normal_(parameter)
    assert torch.equal(make_encoder(module).encode(observation).tokens, before)
    module.target.follow(module.encoder, 0.5)
    assert not torch.equal(make_encoder(module).encode(observation).tokens, before)


@every_encoder
def test_cameras_share_the_encoder_and_keep_their_order(name: str) -> None:
    module, observation = make(name, SEVERAL), random_observation(SEVERAL, 3)
    make_encoder = RECIPES[name].encoder
    assert make_encoder is not None
    encoder, patches = make_encoder(module), 16
    tokens = encoder.encode(observation).tokens
    for place, camera in enumerate((TOP, WRIST)):
        alone = make_encoder(made(name, (camera,)))
        seen = alone.encode(ObservationBatch({camera.name: observation.values[camera.name]})).tokens
        torch.testing.assert_close(tokens[:, patches * place : patches * (place + 1)], seen)
    assert encoder.learned == list(range(32)) and tokens.shape == (3, 33, 32)


@pytest.mark.parametrize("name", VIDEO)
def test_clips_are_encoded_by_time_slots(name: str) -> None:
    """Motion is in them: frames in another order give other latents. A clip of one frame is that frame."""
    batch = clips_for(name, (TOP, WRIST))
    make_encoder = RECIPES[name].encoder
    assert make_encoder is not None
    encoder: Any = make_encoder(made(name, (TOP, WRIST)))
    tokens = encoder.encode_clips(batch)
    assert tokens.shape == (len(batch.sensors["top"]), 2, 32, 32)
    backwards = Clips({key: value.flip(1) for key, value in batch.sensors.items()}, None)
    assert (encoder.encode_clips(backwards).flip(1) - tokens).abs().max() > 1e-3
    still = Clips({key: value[:, :1] for key, value in batch.sensors.items()}, None)
    first = ObservationBatch({key: value[:, 0] for key, value in batch.sensors.items()})
    torch.testing.assert_close(encoder.encode_clips(still)[:, 0], encoder.encode(first).tokens)


def test_pictures_of_a_clip_are_encoded_alone() -> None:
    batch = clips_for("vjepa", (TOP,))
    make_encoder = RECIPES["ijepa"].encoder
    assert make_encoder is not None
    encoder: Any = make_encoder(made("ijepa"))
    frames = encoder.encode(batch.frames).tokens.unflatten(0, batch.shape)
    torch.testing.assert_close(encoder.encode_clips(batch), frames)


PARAMETERS = [
    ("ijepa", "vit-h14", 224, 630.8),
    ("vjepa2", "vit-l16", 256, 303.9),
    ("vjepa2", "vit-g16", 256, 1012),
    ("vjepa2-1", "vit-b16", 256, 86.8),
    ("vjepa2-1", "vit-l16", 256, 304.7),
    ("vjepa2-1", "vit-g16", 256, 1013),
    ("vjepa2-1", "vit-gg16", 256, 1845),
]


@pytest.mark.parametrize(("name", "preset", "side", "millions"), PARAMETERS)
def test_published_sizes(name: str, preset: str, side: int, millions: float) -> None:
    camera = SensorSpec(name="top", kind="camera", shape=(side, side, 3))
    entry = RECIPES[name]
    with torch.device("meta"):
        module = entry.module(entry.presets[preset](), Body(sensors=(camera,)))
    encoder: Any = module.encoder
    assert sum(each.numel() for each in encoder.parameters()) / 1e6 == pytest.approx(millions, rel=2e-3)
    if name == "vjepa2":
        predictor: Any = module.predictor
        assert sum(each.numel() for each in predictor.parameters()) / 1e6 == pytest.approx(22, rel=0.03)


@every_encoder
@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        (SEVERAL[2:], "wanted one or more cameras"),
        ((TOP, SensorSpec(name="wide", kind="camera", shape=(32, 48, 3))), "images of one size"),
        ((SensorSpec(name="odd", kind="camera", shape=(36, 36, 3)),), "wanted a multiple of patch=8 px"),
    ],
)
def test_sensors_that_do_not_suit_are_refused(name: str, sensors: tuple[SensorSpec, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(name, sensors)


WRONG = [
    ("vjepa", {"clip_frames": 5}, "clip_frames=5 must be a multiple of tubelet=2"),
    ("vjepa", {"tubelet": 4}, "clip_frames=4 must be a multiple of tubelet=4, twice it"),
    ("vjepa", {"mask_tokens": 3}, "mask_tokens=3 must be in 1..2"),
    ("vjepa2-1", {"levels": (1, 0)}, "levels=(1, 0) must be ascending block numbers in 0..1"),
    ("vjepa2-1", {"levels": (0, 2)}, "levels=(0, 2)"),
    ("vjepa2-1", {"levels": ()}, "levels=()"),
    ("vjepa2-1", {"visible_from": 0.5, "visible_full": 0.4}, "visible_full=0.4"),
    ("vjepa2-1", {"clip_frames": 3}, "clip_frames=3"),
]


@pytest.mark.parametrize(("name", "changes", "message"), WRONG, ids=[f"{n}-{next(iter(c))}" for n, c, _ in WRONG])
def test_a_configuration_that_cannot_work_is_refused(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(RECIPES[name].presets["tiny"](), **changes)
    assert message in str(caught.value)


def test_levels_of_the_published_sizes_are_those_of_their_depth() -> None:
    assert {each().encoder.depth: each().levels for each in vjepa2_1.PRESETS.values()} == {
        2: (0, 1),
        4: (0, 1, 2, 3),
        12: (2, 5, 8, 11),
        24: (5, 11, 17, 23),
        40: (9, 19, 29, 39),
        48: (11, 23, 37, 47),
    }
