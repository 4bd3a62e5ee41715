"""One thread: the same floats on every machine with the same torch, and no fight over cores."""

import torch

torch.set_num_threads(1)
