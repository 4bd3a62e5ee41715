"""Checks that configurations make of their own fields."""

WIDEST = 65536


def require_range(config: object, low: int, high: int, *names: str) -> None:
    """Raises ValueError that names the first field outside low..high."""
    for name in names:
        value = getattr(config, name)
        if not low <= value <= high:
            raise ValueError(f"{type(config).__name__}.{name}={value} must be in {low}..{high}")
