"""Errors that a user of this package can cause and mend."""


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says what was found and what is wanted."""


class DatasetError(ValueError):
    """An episode store cannot be used; the message says what was found and what is wanted."""


class TrainingError(ValueError):
    """A training cannot begin or go on as asked; the message says what was asked for and what is there."""
