"""What is frozen is left alone, and garbage is found no later for it."""

import subprocess
import sys

RINGS = """
import collections, gc, weakref
from server.process import freeze_garbage

class Ring:
    def __init__(self):
        self.itself = self

imported = [[] for _ in range(1_500_000)]
freeze_garbage()
alive, recent, most = weakref.WeakSet(), collections.deque(maxlen=2000), 0
for _ in range(300_000):
    recent.append(Ring())  # used for a while, as a request is, so that quick collections pass it by
    alive.add(recent[-1])
    most = max(most, len(alive))
print(most, gc.get_freeze_count())
"""


def test_garbage_is_collected_soon_after_much_was_frozen() -> None:
    done = subprocess.run([sys.executable, "-c", RINGS], capture_output=True, text=True, check=True)
    most_rings, frozen = map(int, done.stdout.split())
    assert frozen > 1_500_000
    assert most_rings < 50_000
