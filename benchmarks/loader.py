"""Does the loader keep ahead of the model, and is HDF5 the right store? One run, one machine, medians.

    python benchmarks/loader.py --data data/tworoom --out benchmarks/results/loader.json

Compares random training clips of the main camera from the episode store (HDF5, one compressed chunk a frame) with the
same frames in a Lance dataset (pip install pylance), and both with what the `small` preset consumes while training.
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
from worldmodel import RECIPES, Body, Clips, ClipSampler, EpisodeStore, Step, StepTiming

TIMING = StepTiming()
CLIPS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=1000, help="copied into Lance (default %(default)s)")
    parser.add_argument("--batches", type=int, default=30)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    store, config = main_camera(arguments.data), RECIPES["lewm"].presets["small"]()
    sampler = ClipSampler(store, store.episodes[: arguments.episodes], clip_frames=config.clip_frames, timing=TIMING)
    with tempfile.TemporaryDirectory() as folder:
        rates = {
            "hdf5": frame_rate(lambda step: sampler.sample(CLIPS, 0, step), arguments.batches),
            "lance": frame_rate(lance_reader(store, sampler, folder), arguments.batches),
            "training": frame_rate(training_step(config, sampler), max(1, arguments.batches // 3)),
        }
    result = {
        **provenance(),
        "command": shlex.join(["python", *sys.argv]),
        "frames_per_second": rates,
        "hdf5_over_training": round(rates["hdf5"]["median"] / rates["training"]["median"], 2),
        "hdf5_over_lance": round(rates["hdf5"]["median"] / rates["lance"]["median"], 2),
        "torch_threads": torch.get_num_threads(),
        "batch": {"clips": CLIPS, "frames": CLIPS * config.clip_frames, "image_px": store.sensors[0].shape[0]},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))  # noqa: T201 - this is what the command is for


def main_camera(folder: Path) -> EpisodeStore:
    """The store with its first sensor alone, which is a camera."""
    return EpisodeStore(folder, sensors=[EpisodeStore(folder).sensors[0].name])


def frame_rate(work: Callable[[int], Clips], repeats: int) -> dict[str, float]:
    """Frames a second over `repeats` calls of `work`, each on the clips that it returns, after one warm-up."""
    work(repeats)
    rates = []
    for step in range(repeats):
        start = time.perf_counter()
        clips, frames = work(step).shape
        rates.append(clips * frames / (time.perf_counter() - start))
    return {"median": round(statistics.median(rates)), "least": round(min(rates)), "most": round(max(rates))}


def lance_reader(store: EpisodeStore, sampler: ClipSampler, folder: str, count: int = CLIPS) -> Callable[[int], Clips]:
    """Random clips of the sampler's episodes from a Lance dataset in `folder`: the same frames, uncompressed, one row
    each, fetched by row number."""
    import lance

    schema, batches = _arrow(store, sampler)
    dataset = lance.write_dataset(batches, folder, schema=schema)
    (camera,) = store.sensors
    starts = np.cumsum([0] + [episode.frames for episode in sampler.episodes])
    span, clip_frames = TIMING.frames_spanned(sampler.clip_frames), sampler.clip_frames

    def read(step: int) -> Clips:
        rng = np.random.default_rng((0, step))
        picks = rng.integers(len(sampler.episodes), size=count)
        firsts = starts[picks] + [rng.integers(sampler.episodes[p].frames - span + 1) for p in picks]
        rows = firsts[:, None] + np.arange(clip_frames) * TIMING.control_steps
        frames = dataset.take(rows.ravel().tolist(), columns=["frame"])["frame"].combine_chunks()
        pixels = np.frombuffer(frames.buffers()[1], np.uint8).reshape(count, clip_frames, *camera.shape)
        steps = firsts[:, None] + np.arange(span - 1)
        taken = dataset.take(steps.ravel().tolist(), columns=["action"])["action"].combine_chunks()
        actions = torch.tensor(taken.flatten().to_numpy()).reshape(count, clip_frames - 1, -1)
        return Clips({camera.name: torch.from_numpy(pixels.copy())}, actions)

    return read


def _arrow(store: EpisodeStore, sampler: ClipSampler) -> tuple[Any, Iterator[Any]]:
    """Schema, and one record batch an episode: a frame's bytes and its action in each row."""
    import pyarrow as pa

    (camera,), width = store.sensors, store.action_limits.shape[1]
    schema = pa.schema([("frame", pa.binary(camera.size)), ("action", pa.list_(pa.float32(), width))])

    def batches() -> Iterator[Any]:
        for episode in sampler.episodes:
            frames = store.observations(episode, 0, episode.frames, 1)[camera.name]
            actions = np.pad(store.actions(episode, 0, episode.frames - 1), ((0, 1), (0, 0)))
            buffers = [None, pa.py_buffer(frames.tobytes())]
            columns = [
                pa.FixedSizeBinaryArray.from_buffers(pa.binary(camera.size), len(frames), buffers),
                pa.FixedSizeListArray.from_arrays(pa.array(actions.ravel()), width),
            ]
            yield pa.record_batch(columns, schema=schema)

    return schema, batches()


def training_step(config: Any, sampler: ClipSampler, count: int = CLIPS) -> Callable[[int], Clips]:
    """Learns from one batch, which it returns, again and again."""
    batch = sampler.sample(count, 0, 0)
    assert batch.actions is not None
    body = Body(sensors=sampler.store.sensors, action_width=batch.actions.shape[-1])
    recipe: Any = RECIPES["lewm"].module(config, body)
    optimiser = torch.optim.AdamW(recipe.parameters())

    def learn(index: int) -> Clips:
        with torch.autocast(batch.device.type, dtype=torch.bfloat16):
            losses = recipe.losses(batch, Step(index, index + 1, Generator().manual_seed(index)))
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimiser.step()
        return batch

    return learn


if __name__ == "__main__":
    main()
