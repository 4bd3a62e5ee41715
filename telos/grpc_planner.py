"""Planner over gRPC. Needs the extra `grpc`."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from telos.errors import FieldError, TelosError
from telos.images import Format
from telos.planner import Method, Planner
from telos.retries import until_answered
from telos.tls import Tls
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload
from telos.wire.telos_pb2_grpc import PlannerStub

MAX_MESSAGE_BYTES = 16 * 2**20

_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # closing the channel really closes its connection
    # By default gRPC waits one second before it reconnects, and up to two minutes later on.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
]

_REQUESTS: dict[Method, tuple[type[Message], str]] = {
    "plan": (pb.PlanRequest, "Plan"),
    "anomaly": (pb.AnomalyRequest, "ScoreAnomaly"),
    "encode": (pb.EncodeRequest, "Encode"),
    "create_session": (pb.CreateSessionRequest, "CreateSession"),
    "get_session": (pb.SessionRef, "GetSession"),
    "reset_session": (pb.SessionRef, "ResetSession"),
    "delete_session": (pb.SessionRef, "DeleteSession"),
}

_TRANSPORT_CODES = {
    grpc.StatusCode.UNAVAILABLE: "unreachable",
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "payload-too-large",
}


class GrpcPlanner(Planner):
    """A server at `target`, such as `127.0.0.1:8601`. `timeout_s` bounds every call, retries included.

    Without `tls` the connection is not encrypted: use it on one machine or on a trusted network only.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        timeout_s: float = 10.0,
        image_format: Format = "png",
        tls: Tls | None = None,
    ) -> None:
        super().__init__(image_format)
        self._target = target
        self._credentials = None if tls is None else _credentials(tls)
        self._timeout_s = timeout_s
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._connect()

    def close(self) -> None:
        self._channel.close()

    def ready(self) -> bool:
        try:
            answer = self._health(b"", timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError:
            return False
        return answer == b"\x08\x01"  # HealthCheckResponse(status=SERVING), without its package

    def _connect(self) -> None:
        if self._credentials is None:
            self._channel = grpc.insecure_channel(self._target, _OPTIONS)
        else:
            self._channel = grpc.secure_channel(self._target, self._credentials, _OPTIONS)
        self._stub = PlannerStub(self._channel)
        self._health = self._channel.unary_unary("/grpc.health.v1.Health/Check")

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        kind, name = _REQUESTS[method]
        return to_payload(self._invoke(name, to_message(kind, payload)))

    def _stream(self, payload: dict[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        opened = pb.PlanStreamRequest(open=to_message(pb.PlanRequest, payload))
        call = self._stub.PlanStream(iter([opened]), timeout=self._timeout_s, metadata=self._metadata)
        try:
            for event in call:
                yield to_payload(event)
        except grpc.RpcError as error:
            raise self._telos_error(error, "PlanStream") from error
        finally:
            call.cancel()

    def _list_models(self) -> Sequence[Mapping[str, Any]]:
        return [to_payload(model) for model in self._invoke("ListModels", pb.ListModelsRequest()).models]

    def _invoke(self, name: str, request: Message) -> Any:
        def once(left_s: float) -> Message:
            method: Callable[..., Message] = getattr(self._stub, name)
            try:
                return method(request, timeout=left_s, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = self._telos_error(error, name)
                if failure.code == "timeout":
                    self._replace_connection()  # a dead connection would time out the next call too
                raise failure from error

        return until_answered(once, self._timeout_s)

    def _replace_connection(self) -> None:
        self._channel.close()
        self._connect()

    def _telos_error(self, error: Any, name: str) -> TelosError:
        """Error with the server's details (google.rpc.Status) if there are any, else with the transport's."""
        rich = next((value for key, value in error.trailing_metadata() or () if key == "grpc-status-details-bin"), None)
        status: grpc.StatusCode = error.code()
        if rich is None:
            code = _TRANSPORT_CODES.get(status, status.name.lower())
            detail = f"{self._target} did not answer {name} within {self._timeout_s:g} s: {error.details()}"
            return TelosError(code, detail, status=status.name, retryable=code in ("unreachable", "timeout"))
        return _in_the_servers_words(status, error.details() or "", rich)


def _in_the_servers_words(status: grpc.StatusCode, detail: str, rich: bytes) -> TelosError:
    info, fields, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for packed in status_pb2.Status.FromString(rich).details:
        _ = packed.Unpack(info) or packed.Unpack(fields) or packed.Unpack(retry)
    return TelosError(
        info.reason or status.name.lower(),
        detail,
        status=status.name,
        retryable=info.metadata["retryable"] == "true",
        request_id=info.metadata["request_id"],
        errors=tuple(FieldError(violation.field, violation.description) for violation in fields.field_violations),
        retry_after_s=retry.retry_delay.ToTimedelta().total_seconds(),
    )


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    ca, key, chain = (path and path.read_bytes() for path in (tls.ca_file, tls.key_file, tls.certificate_file))
    return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=chain)
