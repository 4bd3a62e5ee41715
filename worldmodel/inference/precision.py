"""Measures which arithmetic imagines faster on this machine and stays close to float32."""

import statistics
import time

import torch
from torch import Generator

from worldmodel.inference.fast_predictor import FastPredictor
from worldmodel.parts.precision import CLOSE, DTYPES, Precision
from worldmodel.parts.predictor import Predictor

CANDIDATES, HORIZON = 128, 5
REPEATS = 5


@torch.inference_mode()
def measured_precision(predictor: Predictor) -> Precision:
    """bfloat16 where it is faster and within CLOSE of float32; float32 otherwise.

    The two are timed alternately and their medians compared, so that other load on the machine does not decide.
    """
    leave = predictor.leaving
    device, width = leave.weight.device, leave.out_features
    generator = Generator().manual_seed(0)
    context = torch.randn(1, 1, width, generator=generator).to(device)
    action_width = predictor.action_encoder.patch.in_features
    actions = (torch.rand(1, CANDIDATES, HORIZON, action_width, generator=generator) * 2 - 1).to(device)
    predictors: dict[Precision, FastPredictor] = {p: FastPredictor(predictor, DTYPES[p]) for p in DTYPES}
    prefixes = {precision: fast.begin(context, actions[:, 0, :0]) for precision, fast in predictors.items()}
    seconds: dict[Precision, list[float]] = {precision: [] for precision in predictors}
    imagined = {precision: fast.rollout(prefixes[precision], actions) for precision, fast in predictors.items()}
    for _ in range(REPEATS):
        for precision, fast in predictors.items():
            start = time.perf_counter()
            fast.rollout(prefixes[precision], actions).sum().item()  # waits for a GPU as well
            seconds[precision].append(time.perf_counter() - start)
    error = (imagined["bfloat16"] - imagined["float32"]).norm() / imagined["float32"].norm()
    faster = statistics.median(seconds["bfloat16"]) < statistics.median(seconds["float32"])
    return "bfloat16" if faster and float(error) <= CLOSE else "float32"
