"""Page of a demo: one HTML file that needs no other file and no network."""

import json
from importlib.resources import files
from typing import Any

from server.demo.pixels import sprite_sheet
from server.demo.tasks import DemoTask

_PARTS = files("server.demo") / "assets"
_STYLE = files("server.evaluation") / "assets" / "page.css"
"""Style sheet, shared with the page of an evaluation."""


def page(summary: dict[str, Any], tasks: list[DemoTask]) -> str:
    """The page as HTML. `summary` is the data of summary.json; its tasks are `tasks`, in the same order."""
    sheets = [[_sheet(r.frames, r.goal_image) for r in task.recordings] for task in tasks]
    html = _part("page.html")
    for mark, text in (
        ("/*style*/", _STYLE.read_text(encoding="utf-8")),
        ("/*charts*/", _part("charts.js")),
        ("/*players*/", _part("players.js")),
        ("/*page*/", _part("page.js")),
        ("/*data*/", _embedded({"summary": summary, "sheets": sheets})),
    ):
        html = html.replace(mark, text)
    return html


def _sheet(frames: list[Any], goal_image: Any) -> dict[str, Any]:
    """All frames of an episode in one image, with the goal last."""
    sheet = sprite_sheet([*frames, goal_image])
    return {"src": sheet.data_url, "columns": sheet.columns, "frames": len(frames)}


def _embedded(data: Any) -> str:
    """JSON that cannot end the script element around it."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _part(name: str) -> str:
    return (_PARTS / name).read_text(encoding="utf-8")
