"""Client of Telos for robots: it sends what their sensors see and gets plans, over HTTP or gRPC.

`connect("http://host:port")` needs numpy and Pillow; `connect("grpc://host:port")` also needs the extra `grpc`.
"""

from telos.control_loop import ControlLoop
from telos.controller import Controller
from telos.errors import FieldError, TelosError
from telos.http_planner import HttpPlanner
from telos.planner import Planner
from telos.remote import connect
from telos.replies import (
    ActionInfo,
    AnomalyReply,
    Embedding,
    EncodeReply,
    ModelInfo,
    PlannerConfig,
    PlanReply,
    SensorInfo,
    Session,
)
from telos.requests import ActionLimits, Cost, Goal, KeepOut, Observation, PlanOptions, Underway
from telos.tls import Tls

__version__ = "0.1.0"

__all__ = [
    "ActionInfo",
    "ActionLimits",
    "AnomalyReply",
    "ControlLoop",
    "Controller",
    "Cost",
    "Embedding",
    "EncodeReply",
    "FieldError",
    "Goal",
    "HttpPlanner",
    "KeepOut",
    "ModelInfo",
    "Observation",
    "PlanOptions",
    "PlanReply",
    "Planner",
    "PlannerConfig",
    "SensorInfo",
    "Session",
    "TelosError",
    "Tls",
    "Underway",
    "connect",
]
