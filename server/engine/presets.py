"""How the planner's presets are told: with the names that a request has for their settings."""

from planner.presets import Preset
from server.schemas import PlannerConfig


def as_config(name: str, preset: Preset) -> PlannerConfig:
    """What the preset does; what it has no use for is left out. A request may have it as it is."""
    return PlannerConfig(
        preset=name,
        algorithm=preset.algorithm,
        search_space=preset.search_space,
        num_samples=preset.imagined,
        num_elites=preset.elites if preset.has_elites else None,
        max_iterations=preset.iterations,
        init_std=preset.std if preset.samples else None,
        horizon=preset.horizon,
    )
