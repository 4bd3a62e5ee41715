"""Errors that a user of this package can cause and fix."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says what was found and what is wanted."""


class DatasetError(ValueError):
    """An episode store cannot be used; the message says what was found and what is wanted."""


class SensorError(ValueError):
    """A sensor's reading cannot be used; `sensor` is its name, `reason` says what was given and what is wanted."""

    def __init__(self, sensor: str, reason: str) -> None:
        super().__init__(f"sensor {sensor} {reason}")
        self.sensor = sensor
        self.reason = reason


class TrainingError(ValueError):
    """A training cannot begin or continue; the message says what was given and what is wanted."""
