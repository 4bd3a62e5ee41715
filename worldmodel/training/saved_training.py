"""The saved state of a training, from which an interrupted one continues exactly. Safetensors and JSON, no pickle."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Generator, Tensor, nn

from worldmodel.data.atomic_file import write_atomically
from worldmodel.errors import DatasetError, TrainingError
from worldmodel.json_values import shown

_STATE = "state.safetensors"
_IDENTITY = "run.json"


class SavedTraining:
    """state.safetensors (module, optimiser, random numbers, steps done) and run.json (the settings and data)."""

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        generator: Generator | None = None,
        every_s: float = 30.0,
    ) -> None:
        """The training's random numbers must be a function of the step, or come from `generator`."""
        self._folder = folder
        self._module = module
        self._optimiser = optimiser
        self._generator = generator
        self._every_s = every_s
        self._saved_at = time.monotonic()

    def claim(self, identity: dict[str, Any]) -> None:
        """Write run.json. Raises DatasetError when the folder holds a training with another identity."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / _IDENTITY
        text = json.dumps(identity, indent=1, sort_keys=True)
        if path.is_file() and (differences := _differences(json.loads(path.read_text()), json.loads(text))):
            raise DatasetError(
                f"{self._folder} holds a training with other settings or data: {_listed(differences)}; choose another "
                "folder (telos train --run), or delete this one"
            )
        write_atomically(path, text.encode())

    def restore(self) -> int:
        """Restore the saved state. Returns the steps done: 0 where nothing was saved."""
        path = self._folder / _STATE
        if not path.is_file():
            return 0
        tensors = load_file(path)
        self._module.load_state_dict(_under("model.", tensors))
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimiser.", tensors).items():
            index, name = key.split(".")
            states.setdefault(int(index), {})[name] = value
        groups = self._optimiser.state_dict()["param_groups"]
        self._optimiser.load_state_dict({"state": states, "param_groups": groups})
        if self._generator is not None:
            self._generator.set_state(tensors["generator"])
        return int(tensors["step"])

    def save(self, step: int, *, last: bool) -> None:
        """Save the state after `step` steps, if the last save was `every_s` seconds ago or the step is the last.

        Raises TrainingError, and keeps the state saved before, when weights are not finite.
        """
        if not last and time.monotonic() - self._saved_at <= self._every_s:
            return
        if not all(weights.isfinite().all() for weights in self._module.parameters()):
            raise TrainingError(f"weights are not finite after step {step}; lower the learning rate")
        tensors = {f"model.{key}": value for key, value in self._module.state_dict().items()}
        for index, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": torch.as_tensor(value) for key, value in state.items()}
        if self._generator is not None:
            tensors["generator"] = self._generator.get_state()
        tensors["step"] = torch.tensor(step)
        write_atomically(self._folder / _STATE, save({key: value.contiguous() for key, value in tensors.items()}))
        self._saved_at = time.monotonic()


def _differences(kept: Any, asked: Any, name: str = "") -> list[str]:
    """The settings whose kept and asked values differ, each with both values."""
    if isinstance(kept, list) and isinstance(asked, list) and len(kept) == len(asked):
        kept, asked = ({str(index): value for index, value in enumerate(each)} for each in (kept, asked))
    if isinstance(kept, dict) and isinstance(asked, dict):
        keys = sorted({*kept, *asked})
        return [
            difference
            for key in keys
            for difference in _differences(kept.get(key), asked.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if kept == asked else [f"{name} is {shown(kept)} there and {shown(asked)} now"]


def _listed(differences: list[str], most: int = 5) -> str:
    more = len(differences) - most
    return ", ".join(differences[:most]) + (f" and {more} more" if more > 0 else "")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def steps_done(folder: Path) -> int:
    """Steps of the training in `folder` that were saved; 0 where there is none."""
    path = folder / _STATE
    if not path.is_file():
        return 0
    with safe_open(path, "pt") as state:
        return int(state.get_tensor("step"))


def claimed(folder: Path) -> dict[str, Any] | None:
    """The identity of the training in `folder`; None where there is none."""
    path = folder / _IDENTITY
    return json.loads(path.read_text()) if path.is_file() else None
