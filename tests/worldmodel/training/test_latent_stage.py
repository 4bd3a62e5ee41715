"""Imagining along episodes, held against the plain rollout of the same clips."""

import torch
from torch import Generator, Tensor
from worldmodel.data.latent_episodes import LatentEpisodes, StandIns
from worldmodel.training.imagined import imagine_along

from tests.tiny import tiny_recipe
from worldmodel.inference.world_model import LatentWorldModel
from worldmodel.parts.rollout import naive_rollout

CONTEXT, HORIZON, CONTROL_STEPS, FRAMES = 2, 3, 5, 24
ACTIONS = 2


def episodes(model: LatentWorldModel, frames: int = FRAMES) -> tuple[LatentEpisodes, Tensor]:
    """Three of them, of random latents and actions."""
    generator = Generator().manual_seed(0)
    rows = torch.arange(3 * frames)
    latents = torch.randn(len(rows), model.recipe.config.latent_width, generator=generator)
    actions = torch.rand(len(rows), ACTIONS, generator=generator) * 2 - 1
    return LatentEpisodes(latents, (rows // frames + 1) * frames - 1), actions


def imagined(model: LatentWorldModel, data: LatentEpisodes, actions: Tensor, clips: int = 1000) -> StandIns | None:
    return imagine_along(
        model,
        data,
        actions,
        clips=clips,
        context=CONTEXT,
        horizon=HORIZON,
        control_steps=CONTROL_STEPS,
        generator=Generator().manual_seed(1),
    )


def test_each_latent_is_imagined_of_its_row_and_from_the_frames_before() -> None:
    model = LatentWorldModel(tiny_recipe())
    data, actions = episodes(model)
    found = imagined(model, data, actions)
    assert found is not None
    clips_an_episode = FRAMES - (CONTEXT - 1 + HORIZON) * CONTROL_STEPS
    assert len(found.rows) == 3 * clips_an_episode * HORIZON == len(found.latents)
    for latents, rows in zip(found.latents.split(HORIZON), found.rows.split(HORIZON), strict=True):
        assert rows.diff().tolist() == [CONTROL_STEPS] * (HORIZON - 1)
        assert len(set(data.last_row[rows].tolist())) == 1, "a clip of two episodes"
        start = int(rows[0]) - CONTEXT * CONTROL_STEPS
        steps = [actions[start + CONTROL_STEPS * k :][:CONTROL_STEPS].flatten() for k in range(CONTEXT - 1 + HORIZON)]
        past, future = torch.stack(steps).split([CONTEXT - 1, HORIZON])
        seen = data.latents[start::CONTROL_STEPS][:CONTEXT]
        wanted = naive_rollout(model.recipe.predictor, seen[None], past[None], future[None, None])[0, 0]
        torch.testing.assert_close(latents, wanted, rtol=1e-4, atol=1e-4)


def test_no_more_clips_than_wanted_and_none_of_short_episodes() -> None:
    model = LatentWorldModel(tiny_recipe())
    few = imagined(model, *episodes(model), clips=4)
    assert few is not None and len(few.rows) == 4 * HORIZON
    assert imagined(model, *episodes(model, frames=(CONTEXT - 1 + HORIZON) * CONTROL_STEPS)) is None
