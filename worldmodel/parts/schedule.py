"""The schedule by which a learning rate falls."""

import math


def cosine(step: int, steps: int) -> float:
    """Half a cosine: 1 at step 0, 0 at `steps`."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))
