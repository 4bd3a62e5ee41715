"""The settings of a whole training."""

import dataclasses
from dataclasses import dataclass

from worldmodel.clips import StepTiming
from worldmodel.parts.precision import PrecisionChoice
from worldmodel.parts.processes import DeviceChoice
from worldmodel.recipe import Entry
from worldmodel.recipes import RECIPES
from worldmodel.training.head_stage import HeadsConfig
from worldmodel.training.loop import TrainingConfig
from worldmodel.training.origin import Origin
from worldmodel.training.predictor_stage import PredictorTraining


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Settings of a training; everything else is read from the store."""

    origin: Origin = dataclasses.field(default_factory=Origin.of_preset)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    precision: PrecisionChoice = "auto"
    """Overrides that of `training`; `auto` measures which is faster."""
    device: DeviceChoice = "cpu"
    readers: int | None = None
    """Processes that read batches (`BatchSource`); None decides by the device."""
    timing: StepTiming = dataclasses.field(default_factory=StepTiming)
    predictor: PredictorTraining = dataclasses.field(default_factory=PredictorTraining)
    heads: HeadsConfig = dataclasses.field(default_factory=HeadsConfig)

    @property
    def entry(self) -> Entry:
        """Row of the recipe in the table."""
        return RECIPES[self.origin.recipe]
