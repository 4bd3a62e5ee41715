"""The log: one event a line on stderr, as JSON for machines or as text for people.

Code logs through the standard library; only this module knows the form of a line.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from server.observability.observer import observed
from server.settings import LogFormat, LogLevel


def set_up_logs(log_format: LogFormat, level: LogLevel, stream: TextIO | None = None) -> None:
    """Set up the log of this process; libraries write to it only when something is wrong."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(log_format, colours=handler.stream.isatty()))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("telos").setLevel(level.upper())


def _formatter(log_format: LogFormat, *, colours: bool) -> structlog.stdlib.ProcessorFormatter:
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback  # without values of variables, which may be tokens and images
        last += [structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain)]
    shared = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        _add_request,
    ]
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=last)


def _add_request(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the current request's id and trace to a line, and remove empty fields."""
    seen = observed()
    event.setdefault("request_id", seen.request_id)
    if seen.trace is not None:
        event.setdefault("trace_id", seen.trace.trace_id)
    for key in [key for key, value in event.items() if value == ""]:
        del event[key]
    return event
