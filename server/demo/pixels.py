"""Camera frames as image files."""

import io
import math
from base64 import b64encode
from dataclasses import dataclass

import numpy as np
from PIL import Image

from envs.mujoco_env import Image as Frame


@dataclass(frozen=True)
class SpriteSheet:
    """Frames of one size in one PNG, row by row."""

    png: bytes
    columns: int

    @property
    def data_url(self) -> str:
        return "data:image/png;base64," + b64encode(self.png).decode("ascii")


def sprite_sheet(frames: list[Frame]) -> SpriteSheet:
    """All frames in one picture, as square as possible; the rest of the last row is black."""
    height, width = frames[0].shape[:2]
    columns = math.ceil(math.sqrt(len(frames)))
    sheet = np.zeros((math.ceil(len(frames) / columns) * height, columns * width, 3), np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * height, index % columns * width
        sheet[top : top + height, left : left + width] = frame
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, format="png", optimize=True)
    return SpriteSheet(file.getvalue(), columns)
