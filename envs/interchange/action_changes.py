"""Reads actions that are positions as their changes: what a search can plan in small steps around where a robot is."""

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from envs.interchange.source import Description, Frame, Rows, Source

ALL = "all"
PREFIX = "delta_"


class ActionChanges:
    """`source` with some actions replaced by their change from the control step before, in the same unit.

    Those actions are called `delta_<name>`. The first frame of each episode is left out, since its action has no
    predecessor; nothing else is changed.

    Args:
        source: the data set.
        names: actions that are positions; ["all"] is every one.

    Raises:
        ValueError: an action that is not there, or an episode with a single frame.
    """

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        known = source.description.action_names
        if list(names) != [ALL] and (unknown := [name for name in names if name not in known]):
            raise ValueError(f"there is no action {unknown[0]!r}; give some of {known}, or {ALL}: --deltas")
        if min(source.lengths) < 2:
            episode = int(np.argmin(source.lengths))
            raise ValueError(f"episode {episode} has one frame, so no change of an action: leave the episode out")
        self._source = source
        self._changed = np.array([names == [ALL] or name in names for name in known])
        self.description = self._describe(source.description)

    @property
    def lengths(self) -> Sequence[int]:
        return [length - 1 for length in self._source.lengths]

    @property
    def tasks(self) -> Sequence[str]:
        return self._source.tasks

    @property
    def origin(self) -> dict[str, Any]:
        return {**self._source.origin, "deltas": self._changed.tolist()}

    def rows(self) -> Iterator[Rows]:
        for rows in self._source.rows():
            changes = np.diff(rows.actions.astype(np.float64), axis=0).astype(np.float32)
            yield dataclasses.replace(
                rows,
                actions=np.where(self._changed, changes, rows.actions[1:]),
                state=rows.state[1:],
                features=rows.features[1:],
                vectors={name: readings[1:] for name, readings in rows.vectors.items()},
            )

    def frames(self, episode: int, camera: str) -> Iterator[Frame]:
        return islice(self._source.frames(episode, camera), 1, None)

    def _describe(self, said: Description) -> Description:
        """Limits of positions say nothing of changes, so there are none."""
        pairs = zip(said.action_names, self._changed, strict=True)
        names = [f"{PREFIX}{name}" if changed else name for name, changed in pairs]
        return dataclasses.replace(said, action_names=names, action_low=None, action_high=None)
