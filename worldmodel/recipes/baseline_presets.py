"""Presets of the recipes that LeWorldModel is held against: its networks, so that only the losses differ."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from worldmodel.recipes import lewm
from worldmodel.recipes.joint_embedding import JointEmbeddingConfig

C = TypeVar("C", bound=JointEmbeddingConfig)


def baseline_presets(config: Callable[..., C], tiny: Mapping[str, Any]) -> dict[str, Callable[[], C]]:
    """One for each of LeWorldModel's, on the same architecture. `tiny` is what else the one for tests sets."""
    return {
        name: functools.partial(_on, preset, config, tiny if name == "tiny" else {})
        for name, preset in lewm.PRESETS.items()
    }


def _on(preset: Callable[[], JointEmbeddingConfig], config: Callable[..., C], more: Mapping[str, Any]) -> C:
    return config(**preset().architecture(), **more)
