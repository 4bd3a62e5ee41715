"""Frames that a robot saw, one model step apart, and the actions that it executed between them."""

from dataclasses import replace

import numpy as np

from telos.observations import errors_at, observed
from telos.replies import ModelInfo
from telos.requests import Observation, ObservationLike


class History:
    """Context of the next plan. Steps are counted from executed actions, never guessed from time."""

    def __init__(self, model: ModelInfo) -> None:
        """Raises TelosError (`no-actions`) for a model that plans nothing."""
        self.step = 0
        """Control steps executed so far."""
        self._model = model
        self._action = model.required_action
        self._frames: list[Observation] = []
        self._blocks: list[np.ndarray] = []
        self._pending: list[np.ndarray] = []

    @property
    def frames(self) -> tuple[Observation, ...]:
        """Frames, oldest first; the last one is the newest observation."""
        return tuple(self._frames)

    @property
    def actions(self) -> tuple[np.ndarray, ...]:
        """Actions executed between the frames, each [control_steps, actions] in physical units."""
        return tuple(self._blocks)

    def observe(self, seen: ObservationLike) -> None:
        """Remember a frame. Frames count as context when exactly one model step was executed between them.

        Raises ValueError for readings that do not fit the model's sensors, and for a step other than the present one.
        """
        with errors_at("observation"):
            frame = observed(seen, self._model)
        if frame.step not in (None, self.step):
            raise ValueError(
                f"the observation is of step {frame.step}, and {self.step} were executed; leave `step` out"
            )
        pending = np.concatenate(self._pending) if self._pending else np.empty((0, len(self._action.names)))
        if len(pending) == 0:
            del self._frames[-1:]
        elif len(pending) == self._action.control_steps and self._frames:
            self._blocks.append(pending)
        else:
            self._forget()
        self._frames.append(replace(frame, step=self.step))
        self._pending.clear()
        surplus = len(self._frames) - (self._model.context_frames or 1)
        if surplus > 0:
            del self._frames[:surplus], self._blocks[:surplus]

    def executed(self, actions: np.ndarray) -> None:
        """Add executed actions: [steps, actions] in physical units. Raises ValueError for another shape."""
        block = np.asarray(actions, dtype=np.float64)
        if block.ndim != 2 or block.shape[1] != len(self._action.names) or not np.isfinite(block).all():
            names = ", ".join(self._action.names)
            raise ValueError(f"given actions of shape {list(block.shape)}; wanted finite [steps, actions] of {names}")
        self.step += len(block)
        self._pending.append(block.copy())

    def restart(self) -> None:
        """Forget everything but the number of steps."""
        self._forget()
        self._pending.clear()

    def _forget(self) -> None:
        self._frames.clear()
        self._blocks.clear()
