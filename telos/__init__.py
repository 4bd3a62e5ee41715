"""Telos for robots: plans from pixels, asked for over HTTP or gRPC.

`connect("http://host:port")` needs numpy and Pillow; `connect("grpc://host:port")` the extra `telos[grpc]` too.
"""

from telos.control_loop import ControlLoop
from telos.controller import Controller
from telos.errors import FieldError, TelosError
from telos.http_planner import HttpPlanner
from telos.planner import Planner
from telos.remote import connect
from telos.replies import AnomalyReply, Embedding, EncodeReply, ModelInfo, PlannerConfig, PlanReply, Session
from telos.requests import ActionLimits, Cost, Goal, KeepOut, Observation
from telos.tls import Tls

__version__ = "0.1.0"

__all__ = [
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
    "PlanReply",
    "Planner",
    "PlannerConfig",
    "Session",
    "TelosError",
    "Tls",
    "connect",
]
