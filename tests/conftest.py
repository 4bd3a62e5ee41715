"""One thread: the same floats on every machine with the same torch, and no fight over cores."""

import torch

pytest_plugins = ["tests.reliability.report"]

torch.set_num_threads(1)
