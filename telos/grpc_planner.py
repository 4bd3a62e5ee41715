"""Plans over gRPC: the same calls, binary on the wire. Needs the extra `telos[grpc]`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from telos.errors import FieldError, TelosError
from telos.images import Format
from telos.planner import Method, Planner
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from telos.wire.telos_pb2_grpc import PlannerStub

MAX_MESSAGE_BYTES = 16 * 2**20

_REQUESTS: dict[Method, type[Message]] = {
    "plan": pb.PlanRequest,
    "anomaly": pb.AnomalyRequest,
    "encode": pb.EncodeRequest,
}

_TRANSPORT_CODES = {
    grpc.StatusCode.UNAVAILABLE: "unreachable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "payload-too-large",
}


class GrpcPlanner(Planner):
    """A server at `target`, such as `127.0.0.1:8601`. `timeout_s` bounds every call.

    Without `credentials` the connection is not encrypted: for the machine itself or a trusted network.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        timeout_s: float = 10.0,
        image_format: Format = "png",
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        super().__init__(image_format)
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
        stub = PlannerStub(self._channel)
        self._methods: dict[Method, Callable[..., Message]] = {
            "plan": stub.Plan,
            "anomaly": stub.ScoreAnomaly,
            "encode": stub.Encode,
        }
        self._model_lister: Callable[..., pb.ListModelsResponse] = stub.ListModels
        self._health = self._channel.unary_unary("/grpc.health.v1.Health/Check")
        self._target = target
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()

    def close(self) -> None:
        self._channel.close()

    def ready(self) -> bool:
        try:
            answer = self._health(b"", timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError:
            return False
        return answer == b"\x08\x01"  # HealthCheckResponse(status=SERVING), without its package

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        return to_payload(self._invoke(self._methods[method], to_message(_REQUESTS[method], payload)))

    def _list_models(self) -> Sequence[Mapping[str, Any]]:
        return [to_payload(model) for model in self._invoke(self._model_lister, pb.ListModelsRequest()).models]

    def _invoke(self, method: Callable[..., Any], request: Message) -> Any:
        try:
            return method(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _telos_error(error, self._target) from error


def _telos_error(error: Any, target: str) -> TelosError:
    """The server's own words when it gave some (google.rpc.Status), else the transport's."""
    rich = next((value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"), None)
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(rich).details if rich else ():
        _ = detail.Unpack(info) or detail.Unpack(fields)
    status: grpc.StatusCode = error.code()
    code = info.reason if rich else _TRANSPORT_CODES.get(status)
    return TelosError(
        code or status.name.lower(),
        (error.details() or "") if rich else f"{target}: {error.details()}",
        status=status.name,
        retryable=info.metadata["retryable"] == "true" if rich else status is grpc.StatusCode.UNAVAILABLE,
        request_id=info.metadata["request_id"] if rich else "",
        errors=tuple(FieldError(violation.field, violation.description) for violation in fields.field_violations),
    )
