"""Checks that configurations make of their own fields."""

WIDEST = 65536


def require_range(config: object, low: int, high: int, *names: str) -> None:
    """Raises ValueError that names the first field outside low..high."""
    for name in names:
        value = getattr(config, name)
        if not low <= value <= high:
            raise ValueError(f"{type(config).__name__}.{name}={value} must be in {low}..{high}")


def require_tubelets(clip_frames: int, tubelet: int) -> None:
    """Raises ValueError where clips cannot be cut into two or more tubelets of so many frames."""
    if not 1 <= tubelet <= clip_frames / 2 or clip_frames % tubelet:
        raise ValueError(f"clip_frames={clip_frames} must be a multiple of tubelet={tubelet}, twice it at least")
