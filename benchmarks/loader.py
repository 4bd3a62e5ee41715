"""Does the loader keep ahead of the model, and is HDF5 the right store? One run, one machine, medians.

    python benchmarks/loader.py --data data/tworoom --out benchmarks/results/loader.json

Compares random training windows from the episode store (HDF5, one compressed chunk a frame) with the same frames in a
Lance dataset (pip install pylance), and both with what the `small` preset consumes while training.
"""

# Lance is for this comparison only and not among the dependencies.
# pyright: reportMissingImports=false

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator

from server.provenance import provenance
from worldmodel.clips import Windows
from worldmodel.data.episodes import EpisodeStore, WindowSampler
from worldmodel.parts.precision import autocast
from worldmodel.recipes.lewm import LeWM, small

CONTROL_STEPS = 5
CLIPS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=1000, help="copied into Lance (default %(default)s)")
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    store = EpisodeStore(arguments.data)
    config = small()
    episodes = store.episodes[: arguments.episodes]
    sampler = WindowSampler(store, episodes, clip_frames=config.clip_frames, control_steps=CONTROL_STEPS)
    frames_a_batch = CLIPS * config.clip_frames
    rates = {
        "hdf5": _rate(lambda step: sampler.sample(CLIPS, 0, step), frames_a_batch, arguments.batches),
        "lance": _lance_rate(store, sampler, config.clip_frames, arguments.batches),
        "training": _training_rate(config, store, sampler.sample(CLIPS, 0, 0), arguments.batches // 3),
    }
    result = {
        **provenance(),
        "command": shlex.join(["python", *sys.argv]),
        "frames_per_second": rates,
        "hdf5_over_training": round(rates["hdf5"]["median"] / rates["training"]["median"], 2),
        "hdf5_over_lance": round(rates["hdf5"]["median"] / rates["lance"]["median"], 2),
        "torch_threads": torch.get_num_threads(),
        "batch": {"clips": CLIPS, "frames": frames_a_batch, "image_px": store.image_px},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))  # noqa: T201 - this is what the command is for


def _rate(work: Callable[[int], Any], frames: int, repeats: int) -> dict[str, float]:
    """Frames a second over `repeats` calls, after one warm-up."""
    work(repeats)
    rates = []
    for step in range(repeats):
        start = time.perf_counter()
        work(step)
        rates.append(frames / (time.perf_counter() - start))
    return {"median": round(statistics.median(rates)), "least": round(min(rates)), "most": round(max(rates))}


def _lance_rate(store: EpisodeStore, sampler: WindowSampler, clip_frames: int, repeats: int) -> dict[str, float]:
    """The same frames, uncompressed, one row each; windows are fetched by row number."""
    import lance

    side = store.image_px
    with tempfile.TemporaryDirectory() as folder:
        schema, batches = _arrow(store, sampler)
        dataset = lance.write_dataset(batches, folder, schema=schema)
        starts = np.cumsum([0] + [episode.frames for episode in sampler.episodes])
        span = (clip_frames - 1) * CONTROL_STEPS + 1

        def sample(step: int) -> Windows:
            rng = np.random.default_rng((0, step))
            picks = rng.integers(len(sampler.episodes), size=CLIPS)
            firsts = starts[picks] + [rng.integers(sampler.episodes[p].frames - span + 1) for p in picks]
            rows = firsts[:, None] + np.arange(clip_frames) * CONTROL_STEPS
            frames = dataset.take(rows.ravel().tolist(), columns=["frame"])["frame"].combine_chunks()
            pixels = np.frombuffer(frames.buffers()[1], np.uint8).reshape(CLIPS, clip_frames, side, side, 3)
            steps = firsts[:, None] + np.arange(span - 1)
            taken = dataset.take(steps.ravel().tolist(), columns=["action"])["action"].combine_chunks()
            actions = torch.tensor(taken.flatten().to_numpy()).reshape(CLIPS, clip_frames - 1, -1)
            return Windows(torch.from_numpy(pixels.copy()), actions)

        return _rate(sample, CLIPS * clip_frames, repeats)


def _arrow(store: EpisodeStore, sampler: WindowSampler) -> tuple[Any, Iterator[Any]]:
    """Schema, and one record batch an episode: a frame's bytes and its action in each row."""
    import pyarrow as pa

    size = store.image_px**2 * 3
    schema = pa.schema([("frame", pa.binary(size)), ("action", pa.list_(pa.float32(), 2))])

    def batches() -> Iterator[Any]:
        for episode in sampler.episodes:
            frames = store.frames(episode, 0, episode.frames, 1)
            actions = np.pad(store.actions(episode, 0, episode.frames - 1), ((0, 1), (0, 0)))
            buffers = [None, pa.py_buffer(frames.tobytes())]
            columns = [
                pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), len(frames), buffers),
                pa.FixedSizeListArray.from_arrays(pa.array(actions.ravel()), 2),
            ]
            yield pa.record_batch(columns, schema=schema)

    return schema, batches()


def _training_rate(config: Any, store: EpisodeStore, batch: Windows, repeats: int) -> dict[str, float]:
    recipe = LeWM(config, batch.actions.shape[-1])
    optimiser = torch.optim.AdamW(recipe.parameters())

    def step(index: int) -> None:
        with autocast("bfloat16", batch.frames.device):
            losses = recipe.losses(batch, Generator().manual_seed(index))
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()

    return _rate(step, batch.frames.shape[0] * batch.frames.shape[1], repeats)


if __name__ == "__main__":
    main()
