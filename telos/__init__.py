"""Telos for robots: plans from pixels, asked for over HTTP or gRPC.

`from telos.grpc_planner import GrpcPlanner` for gRPC, which needs the extra `telos[grpc]`.
"""

from telos.controller import Controller
from telos.errors import FieldError, TelosError
from telos.http_planner import HttpPlanner
from telos.planner import ActionLimits, Observation, Planner
from telos.replies import AnomalyReply, Embedding, EncodeReply, ModelInfo, PlannerConfig, PlanReply

__version__ = "0.1.0"

__all__ = [
    "ActionLimits",
    "AnomalyReply",
    "Controller",
    "Embedding",
    "EncodeReply",
    "FieldError",
    "HttpPlanner",
    "ModelInfo",
    "Observation",
    "PlanReply",
    "Planner",
    "PlannerConfig",
    "TelosError",
]
