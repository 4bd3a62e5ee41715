"""A checkpoint of a simulated task, with random weights."""

from dataclasses import replace
from pathlib import Path

from envs import ENVS
from tests.tiny import write_tiny_checkpoint
from worldmodel.manifest import read_manifest

TASK = "telos/TwoRoom-v0"
MODEL = "tworoom-tiny"


def write_task_checkpoint(checkpoints: Path) -> Path:
    """Writes checkpoints/MODEL and returns it."""
    folder, env = write_tiny_checkpoint(checkpoints, MODEL), ENVS[TASK]
    manifest = read_manifest(folder)
    action = replace(
        manifest.action,
        names=env.action_names,
        units=env.action_units,
        low=tuple(-high for high in env.action_high),
        high=env.action_high,
        dt_s=env.dt_s,
    )
    (folder / "manifest.json").write_text(replace(manifest, task=TASK, action=action).to_json())
    return folder
