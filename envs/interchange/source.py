"""What a data set of any layout is read as: numbers and pictures, one episode after another."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""RGB uint8 [h, w, 3]."""
UNSTATED = "unstated"
"""The unit of a column whose data set names none."""
RECORDED = "recorded"
"""The policy of an episode that says nothing of who acted."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the numbers of a data set mean: the part of dataset.json that does not depend on the layout."""

    camera: str
    dt_s: float
    """Seconds between two frames: one control step."""
    action_names: list[str]
    action_units: list[str]
    action_low: list[float] | None
    """Limits in the actions' units; None when the data set does not say any."""
    action_high: list[float] | None
    state_names: list[str]
    state_units: list[str]
    feature_names: list[str]
    policy: str = RECORDED
    """What acted, in words."""
    env_id: str = ""
    """The simulated task, empty for a robot."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.dt_s) and self.dt_s > 0):
            raise ValueError(f"dt_s is {self.dt_s}; wanted the seconds of one control step, above 0")
        width = len(self.action_names)
        if width == 0:
            raise ValueError("there is no action column; a world model learns what actions do")
        if len(set(self.action_names)) != width:
            raise ValueError(f"action names are {self.action_names}; wanted different ones: --action-names")
        if len(self.action_units) != width:
            raise ValueError(f"{len(self.action_units)} action units for the {width} actions {self.action_names}")
        if len(self.state_units) != len(self.state_names):
            raise ValueError(f"{len(self.state_units)} state units for {len(self.state_names)} state names")

    def to_json(self) -> dict[str, Any]:
        """As data: what an export says beside the layout's own words."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any, where: str) -> "Description":
        """Raises ValueError, naming `where` it stands, when it is not what `to_json` gives."""
        try:
            return cls(
                camera=str(data["camera"]),
                dt_s=float(data["dt_s"]),
                action_names=[str(name) for name in data["action_names"]],
                action_units=[str(unit) for unit in data["action_units"]],
                action_low=[float(limit) for limit in data["action_low"]],
                action_high=[float(limit) for limit in data["action_high"]],
                state_names=[str(name) for name in data["state_names"]],
                state_units=[str(unit) for unit in data["state_units"]],
                feature_names=[str(name) for name in data["feature_names"]],
                policy=str(data["policy"]),
                env_id=str(data["env_id"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} does not describe the data set as Telos does: {error!r}") from error


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The numbers of one episode of n frames: all finite."""

    actions: NDArray[np.float32]
    """[n - 1, A], physical units; row i is applied after frame i. The last frame has none."""
    state: NDArray[np.float64]
    """[n, S]"""
    features: NDArray[np.float32]
    """[n, F]: what a probe should find in a latent."""
    policy: str
    """Which of the policies acted."""


class Source(Protocol):
    """A data set that is read in order, never as a whole. Everything raises ValueError on what cannot be used."""

    @property
    def description(self) -> Description: ...

    @property
    def lengths(self) -> Sequence[int]:
        """Frames of each episode."""
        ...

    @property
    def tasks(self) -> Sequence[str]:
        """What was to be done in each episode, in words; empty where nobody said."""
        ...

    @property
    def origin(self) -> dict[str, Any]:
        """Where the episodes come from, for dataset.json: `format`, `name`, and what identifies the content."""
        ...

    def rows(self) -> Iterator[Rows]:
        """The numbers of every episode."""
        ...

    def frames(self, episode: int) -> Iterator[Frame]:
        """The pictures of one episode; take them all, and ask for episodes in ascending order."""
        ...


def numbered(prefix: str, width: int) -> list[str]:
    """Names for columns without any."""
    return [f"{prefix}_{index}" for index in range(width)]


def episode_rows(
    where: str,
    actions: NDArray[Any],
    state: NDArray[Any],
    features: NDArray[Any] | None = None,
) -> Rows:
    """Rows of one episode as others store it, with as many actions as frames: the last one leads to no frame.

    Args:
        where: the episode, for messages.
        actions: [n, A]; the last row may be NaN.
        state: [n, S].
        features: [n, F]; None takes the state, which is what an encoder of a robot's camera should know.

    Raises:
        ValueError: a number is not finite.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is found right below
        actions = actions[:-1].astype(np.float32)
    state = state.astype(np.float64)
    for name, values in (("action", actions), ("state", state)):
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            advice = (
                "leave the episode out" if name == "action" else "leave the episode out, or the state: --state none"
            )
            raise ValueError(f"{where}: {name} column {column} of frame {row} is not a finite number; {advice}")
    with np.errstate(over="ignore"):
        features = (state if features is None else features).astype(np.float32)
    return Rows(actions=actions, state=state, features=features, policy=RECORDED)
