"""Overwrites the numbers of a compiled MuJoCo model with those of another of the same structure."""

# mujoco is compiled and ships no type stubs, so pyright cannot see its names.
# pyright: reportAttributeAccessIssue=false

import mujoco
import numpy as np

# Scalars that the compiler derives from sizes and masses; the arrays of a model are copied beside them.
_DERIVED_STATISTICS = ("meaninertia", "meanmass", "meansize")


def writeable_arrays(model: mujoco.MjModel) -> tuple[str, ...]:
    """Names of all arrays that hold a model's numbers. To find them takes as long as to copy them."""
    values = {name: getattr(model, name, None) for name in dir(model)}
    return tuple(name for name, value in values.items() if isinstance(value, np.ndarray) and value.flags.writeable)


def copy_model(source: mujoco.MjModel, target: mujoco.MjModel, arrays: tuple[str, ...]) -> None:
    """Overwrite the numbers of `target` in place: its data and its OpenGL context see the new world."""
    for name in arrays:
        getattr(target, name)[...] = getattr(source, name)
    for name in _DERIVED_STATISTICS:
        setattr(target.stat, name, getattr(source.stat, name))
