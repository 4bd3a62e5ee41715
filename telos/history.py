"""What a robot saw and did, as a world model wants it: frames one model step apart, and the actions between them."""

import numpy as np

from telos.images import ImageLike
from telos.replies import ModelInfo
from telos.requests import Observation


class History:
    """Steps are counted here, in control steps executed, never guessed from time."""

    def __init__(self, model: ModelInfo) -> None:
        self.step = 0
        """Control steps executed so far."""
        self._model = model
        self._frames: list[Observation] = []
        self._blocks: list[np.ndarray] = []
        self._pending: list[np.ndarray] = []

    @property
    def frames(self) -> tuple[Observation, ...]:
        """Oldest first; the last is what was observed last."""
        return tuple(self._frames)

    @property
    def actions(self) -> tuple[np.ndarray, ...]:
        """Executed between the frames, each [control_steps, actions] in physical units."""
        return tuple(self._blocks)

    def observe(self, image: ImageLike) -> None:
        """Remember a frame. Frames count as context when exactly one model step was executed between them."""
        pending = np.concatenate(self._pending) if self._pending else np.empty((0, len(self._model.action.names)))
        if len(pending) == 0:
            del self._frames[-1:]
        elif len(pending) == self._model.action.control_steps and self._frames:
            self._blocks.append(pending)
        else:
            self._forget()
        kept = image if isinstance(image, bytes) else np.array(image)  # a camera may draw into the same array again
        self._frames.append(Observation(kept, step=self.step))
        self._pending.clear()
        surplus = len(self._frames) - self._model.context_frames
        if surplus > 0:
            del self._frames[:surplus], self._blocks[:surplus]

    def executed(self, actions: np.ndarray) -> None:
        """What the robot really did: [steps, actions] in physical units. Raises ValueError for anything else."""
        block = np.asarray(actions, dtype=np.float64)
        if block.ndim != 2 or block.shape[1] != len(self._model.action.names) or not np.isfinite(block).all():
            names = ", ".join(self._model.action.names)
            raise ValueError(f"given actions of shape {list(block.shape)}; wanted finite [steps, actions] of {names}")
        self.step += len(block)
        self._pending.append(block.copy())

    def restart(self) -> None:
        """Forget everything but the count."""
        self._forget()
        self._pending.clear()

    def _forget(self) -> None:
        self._frames.clear()
        self._blocks.clear()
