"""The frozen model on episodes: frames and twins as it encodes them, and imagining held against the plain rollout."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from tests.episodes import dot_episode, readings, write_store
from tests.tiny import tiny_recipe
from tests.worldmodel.latent_store import CPU, latent_episodes
from worldmodel.clips import StepTiming
from worldmodel.data.episodes import EpisodeStore
from worldmodel.data.latents import LatentEpisodes, StandIns, weights_hash
from worldmodel.inference.world_model import FastEncoder, FastWorldModel
from worldmodel.observation import ObservationBatch
from worldmodel.parts.rollout import naive_rollout
from worldmodel.recipe import Latents
from worldmodel.recipes.lewm import LeWM
from worldmodel.recipes.network import imagining
from worldmodel.training.latent_stage import (
    FrozenEncoder,
    encode_episodes,
    imagine_along,
    imagined_stand_ins,
    twin_stand_ins,
)

TIMING = StepTiming(control_steps=5, context_frames=2, horizon=3)
FRAMES = 24


class CountingEncoder:
    """Counts the frames that it encodes."""

    def __init__(self, module: LeWM) -> None:
        self.encoder, self.frames = FastEncoder(module), 0
        self.latent_shape, self.learned = self.encoder.latent_shape, self.encoder.learned

    def encode(self, observation: ObservationBatch) -> Latents:
        self.frames += len(next(iter(observation.values.values())))
        return self.encoder.encode(observation)


def frozen_in(folder: Path, module: LeWM) -> tuple[FrozenEncoder, CountingEncoder]:
    encoder, weights = CountingEncoder(module), weights_hash(module.state_dict())
    return FrozenEncoder(encoder=encoder, device=CPU, weights=weights, folder=folder), encoder


def dots(folder: Path, several_sensors: bool = False) -> EpisodeStore:
    """Episodes of 11, 14 and 17 frames; a twin is its frame's negative."""
    episodes = [dot_episode(seed, steps=10 + 3 * seed) for seed in range(3)]
    return EpisodeStore(write_store(folder, episodes, twins=True, several_sensors=several_sensors))


def encoded(module: LeWM, frames: dict[str, np.ndarray]) -> Tensor:
    batch = ObservationBatch({name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in frames.items()})
    with torch.no_grad():
        return module.encode(batch).tokens


def test_stored_latents_are_those_of_the_frames_to_half_precision(tmp_path: Path) -> None:
    """Of three sensors: two cameras and a vector. The plain encoder is the reference."""
    store = dots(tmp_path / "store", several_sensors=True)
    module = tiny_recipe(sensors=store.sensors)
    data = encode_episodes(frozen_in(tmp_path, module)[0], store, store.episodes, TIMING, lambda *_: None)
    seen = [readings(dot_episode(seed, steps=10 + 3 * seed), True) for seed in range(3)]
    wanted = encoded(module, {name: np.concatenate([each[name] for each in seen]) for name in seen[0]})
    rows = data.latents[torch.arange(42)]
    assert rows.shape == wanted.shape == (42, 3, 16)
    torch.testing.assert_close(rows, wanted, rtol=2e-3, atol=2e-3)
    assert data.last_row.tolist() == [10] * 11 + [24] * 14 + [41] * 17
    assert data.actions[10].tolist() == data.actions[41].tolist() == [0, 0], "nothing is done after the last frame"
    np.testing.assert_array_equal(data.actions[11:24], store.actions(store.episodes[1], 0, 13))


def test_frames_are_encoded_once_for_each_set_of_weights_and_episodes(tmp_path: Path) -> None:
    store, module = dots(tmp_path / "store"), tiny_recipe()
    frozen, encoder = frozen_in(tmp_path, module)
    reported: list[int] = []

    def rows(episodes: slice, frozen: FrozenEncoder = frozen) -> str:
        progress = lambda stage, done, *_: reported.append(done)  # noqa: E731
        return encode_episodes(frozen, store, store.episodes[episodes], TIMING, progress).latents.name

    first = rows(slice(3))
    assert (encoder.frames, reported) == (42, [1, 2, 3])
    assert rows(slice(3)) == first and (encoder.frames, reported) == (42, [1, 2, 3]), "encoded again"
    assert rows(slice(2)) != first and encoder.frames == 42 + 25
    other, counted = frozen_in(tmp_path, tiny_recipe(seed=1))
    assert rows(slice(3), other) != first and counted.frames == 42


def test_a_twins_latent_stands_for_its_frame(tmp_path: Path) -> None:
    store, module = dots(tmp_path / "store"), tiny_recipe()
    frozen = frozen_in(tmp_path, module)[0]
    data = encode_episodes(frozen, store, store.episodes, TIMING, lambda *_: None)
    found = twin_stand_ins(data, frozen, store, store.episodes, lambda *_: None)
    frames = np.concatenate([dot_episode(seed, steps=10 + 3 * seed).frames for seed in range(3)])
    assert found.rows.tolist() == [0, 5, 10, 11, 16, 21, 25, 30, 35, 40]
    wanted = encoded(module, {"top": 255 - frames[found.rows]})
    torch.testing.assert_close(found.latents[torch.arange(10)], wanted, rtol=2e-3, atol=2e-3)


def episodes(folder: Path, frames: int = FRAMES, seed: int = 0) -> LatentEpisodes:
    """Three of them, of random latents and actions."""
    generator = Generator().manual_seed(seed)
    latents = torch.randn(3, frames, 1, 16, generator=generator)
    return latent_episodes(folder / "latents", latents, torch.rand(3, frames, 2, generator=generator) * 2 - 1, TIMING)


def imagined(folder: Path, data: LatentEpisodes, clips: int = 1000, module: LeWM | None = None) -> StandIns | None:
    recipe = module or tiny_recipe()
    frozen, model = frozen_in(folder, recipe)[0], FastWorldModel(imagining(recipe))
    return imagine_along(data, frozen, model, (TIMING.context_frames, clips, 1), lambda *_: None)


def test_each_latent_is_imagined_of_its_row_and_from_the_frames_before(tmp_path: Path) -> None:
    data, recipe = episodes(tmp_path), tiny_recipe()
    found = imagined(tmp_path, data)
    assert found is not None
    context, horizon, skip = TIMING.context_frames, TIMING.horizon, TIMING.control_steps
    assert len(found.rows) == 3 * (FRAMES - (context - 1 + horizon) * skip) * horizon == len(found.latents)
    latents = found.latents[torch.arange(len(found.rows))]
    for told, rows in zip(latents.split(horizon), found.rows.split(horizon), strict=True):
        assert rows.diff().tolist() == [skip] * (horizon - 1)
        assert len(set(data.last_row[rows].tolist())) == 1, "a clip of two episodes"
        start = int(rows[0]) - context * skip
        steps = [data.actions[start + skip * k :][:skip].flatten() for k in range(context - 1 + horizon)]
        past, future = torch.stack(steps).split([context - 1, horizon])
        seen = data.latents[start + skip * torch.arange(context)].flatten(1)
        with torch.no_grad():
            wanted = naive_rollout(recipe.predictor, seen[None], past[None], future[None, None])[0, 0]
        torch.testing.assert_close(told[:, 0], wanted, rtol=3e-3, atol=3e-3)


def test_no_more_clips_than_wanted_and_none_of_short_episodes(tmp_path: Path) -> None:
    few = imagined(tmp_path, episodes(tmp_path), clips=4)
    assert few is not None and len(few.rows) == 4 * TIMING.horizon
    short = (TIMING.context_frames - 1 + TIMING.horizon) * TIMING.control_steps
    assert imagined(tmp_path, episodes(tmp_path, frames=short)) is None


def test_what_was_imagined_of_something_else_is_not_taken_for_it(tmp_path: Path) -> None:
    """Other weights, other episodes of equally many frames, another horizon."""
    data = episodes(tmp_path)
    nearer = dataclasses.replace(data, timing=dataclasses.replace(TIMING, horizon=2))
    found = [imagined(tmp_path, each) for each in (data, episodes(tmp_path, seed=1), nearer)]
    found.append(imagined(tmp_path, data, module=tiny_recipe(seed=1)))
    assert len({each.latents.name for each in found if each is not None}) == 4
    again = imagined(tmp_path, data)
    assert again is not None and found[0] is not None and again.latents.name == found[0].latents.name


def test_plans_begin_from_one_frame_or_from_all_and_so_does_imagining(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    frozen, model = frozen_in(tmp_path, recipe)[0], FastWorldModel(imagining(recipe))
    one, all_of_them = imagined_stand_ins(episodes(tmp_path), frozen, model, 0, lambda *_: None)
    assert int(one.rows.min()) == TIMING.control_steps and int(all_of_them.rows.min()) == 2 * TIMING.control_steps
