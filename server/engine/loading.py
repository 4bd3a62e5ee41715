"""A checkpoint that an operator names: found inside the checkpoints folder, or refused with the reason."""

import re
from pathlib import Path

from server.engine.registry import ServedModel, open_model
from server.errors import Code, ServiceError
from server.settings import Settings
from server.validation import shorten
from worldmodel.errors import CheckpointError

_FOLDER = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_FILES = ("manifest.json", "model.safetensors")


def load_model(folder: str, settings: Settings) -> ServedModel:
    """Its weights are read whole, checked against their hash, and only then looked at. Raises ServiceError."""
    path = _inside(settings.checkpoints, folder)
    try:
        return open_model(path, settings)
    except CheckpointError as error:
        raise model_refused(str(error)) from error


def model_refused(reason: str) -> ServiceError:
    """Nothing has changed."""
    return ServiceError(Code.MODEL_REFUSED, f"{reason}; what was served before is served still")


def _inside(checkpoints: Path, folder: str) -> Path:
    """No file of it may lead out of the checkpoints folder, by whatever links."""
    if not _FOLDER.fullmatch(folder):
        raise model_refused(f"'{shorten(folder)}' is no name of a folder in the checkpoints folder")
    root = checkpoints.resolve()
    for name in _FILES:
        file = root / folder / name
        if not file.resolve().is_relative_to(root):
            raise model_refused(f"{name} of {folder} is a link that leads out of the checkpoints folder")
        if not file.is_file():
            raise model_refused(f"{folder} has no {name}; put both files of the checkpoint there")
    return root / folder
