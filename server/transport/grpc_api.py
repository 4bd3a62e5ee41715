"""gRPC: a thin translation of the service. Messages are parsed here, so that malformed ones get a proper answer."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from pydantic import BaseModel

from server import schemas
from server.call import Call, idempotency_key
from server.errors import Code, ServiceError, internal
from server.observability.observer import observed
from server.plan_stream import PlanStream
from server.service import Service
from server.settings import Settings
from server.transport.admission import Admission
from server.transport.grpc_gate import GrpcGate, refusal
from server.validation import new_request_id, request_id_of, validate
from telos.wire import telos_pb2 as pb
from telos.wire.messages import to_message, to_payload

log = logging.getLogger("telos")

R = TypeVar("R", bound=schemas.Wire)
Operation = Callable[[R, Call], Coroutine[Any, Any, BaseModel]]
Handler = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["Planner"].full_name


def grpc_server(service: Service, settings: Settings, admission: Admission) -> tuple[grpc.aio.Server, HealthServicer]:
    """The server, without a port, and its health service, which is NOT_SERVING until `set_health`."""

    server = grpc.aio.server(
        interceptors=[GrpcGate(settings, admission, service.observer)],
        options=_options(settings),
        maximum_concurrent_rpcs=settings.max_connections,
    )
    methods = {
        name: grpc.unary_unary_rpc_method_handler(_handler(*method)) for name, method in _methods(service).items()
    }
    methods["PlanStream"] = grpc.stream_stream_rpc_method_handler(_stream_handler(service, settings))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    servicer = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server, servicer


def _methods(service: Service) -> dict[str, tuple[type[Message], type[Message], type[Any], Operation[Any]]]:
    """Request message, reply message, request schema and operation of each method, by name."""

    async def list_models(request: schemas.ListModelsRequest, call: Call) -> schemas.ListModelsResponse:
        return service.models()

    async def plan(request: schemas.PlanRequest, call: Call) -> schemas.PlanResponse:
        return await service.plan(request, call=call)

    def at_once(operation: Callable[[R], Coroutine[Any, Any, BaseModel]]) -> Operation[R]:
        async def operate(request: R, call: Call) -> BaseModel:
            return await operation(request)

        return operate

    return {
        "Plan": (pb.PlanRequest, pb.PlanResponse, schemas.PlanRequest, plan),
        "ScoreAnomaly": (pb.AnomalyRequest, pb.AnomalyResponse, schemas.AnomalyRequest, service.anomaly),
        "Encode": (pb.EncodeRequest, pb.EncodeResponse, schemas.EncodeRequest, service.encode),
        "ListModels": (pb.ListModelsRequest, pb.ListModelsResponse, schemas.ListModelsRequest, list_models),
        "CreateSession": (
            pb.CreateSessionRequest,
            pb.Session,
            schemas.CreateSessionRequest,
            at_once(service.create_session),
        ),
        "GetSession": (pb.SessionRef, pb.Session, schemas.SessionRef, at_once(service.session)),
        "ResetSession": (pb.SessionRef, pb.Session, schemas.SessionRef, at_once(service.reset_session)),
        "DeleteSession": (
            pb.SessionRef,
            pb.DeleteSessionResponse,
            schemas.SessionRef,
            at_once(service.delete_session),
        ),
        "GetServerTime": (pb.ServerTimeRequest, pb.ServerTime, schemas.ServerTimeRequest, at_once(service.time)),
    }


def _options(settings: Settings) -> list[tuple[str, int]]:
    idle_ms, send_ms = round(settings.idle_timeout_s * 1e3), round(settings.send_timeout_s * 1e3)
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", settings.max_body_bytes),
        ("grpc.max_metadata_size", settings.max_header_bytes // 2),  # from here on some, beyond the next all
        ("grpc.absolute_max_metadata_size", settings.max_header_bytes),
        ("grpc.max_concurrent_streams", settings.max_connections),
        ("grpc.server_handshake_timeout_ms", round(settings.header_timeout_s * 1e3)),
        ("grpc.keepalive_time_ms", idle_ms),  # a robot that loses its network closes nothing
        ("grpc.keepalive_timeout_ms", send_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: what is small on the wire must be small here
        ("grpc.so_reuseport", 0),  # a second server on the same port is a mistake
    ]


async def set_health(servicer: HealthServicer, *, serving: bool) -> None:
    """Set the answer of health checks, for the server as a whole and for the planner."""
    state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", SERVICE_NAME):
        await servicer.set(name, state)


def _handler(asked: type[Message], answered: type[Message], kind: type[R], operation: Operation[R]) -> Handler:
    """Handler that parses, validates and runs a request. It always answers with a reply or a rich error."""

    async def handle(data: bytes, context: grpc.aio.ServicerContext) -> bytes:
        request_id = new_request_id()
        try:
            payload = _read(asked, data)
            request_id = request_id_of(payload)
            named = {"request_id": request_id} if "request_id" in kind.model_fields else {}
            request = validate(kind, named | payload)
            observed().request_id = request_id
            response = await operation(request, _call(context))
            return to_message(answered, response.model_dump()).SerializeToString()
        except ServiceError as error:
            return refusal(context, error, request_id)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request %s failed", request_id)
            return refusal(context, internal(), request_id)

    return handle


def _stream_handler(service: Service, settings: Settings) -> Callable[..., Awaitable[None]]:
    async def handle(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
        async def events() -> AsyncIterator[schemas.PlanStreamRequest]:
            async for data in messages:
                yield validate(schemas.PlanStreamRequest, _read(pb.PlanStreamRequest, data))

        async def send(response: schemas.PlanStreamResponse) -> None:
            await context.write(to_message(pb.PlanStreamResponse, response.model_dump()).SerializeToString())

        stream = PlanStream(service, send, send_timeout_s=settings.send_timeout_s, grace_s=settings.shutdown_grace_s)
        try:
            await stream.run(events())
        except ServiceError as error:
            refusal(context, error, new_request_id())
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a stream failed")
            refusal(context, internal(), new_request_id())

    return handle


def _call(context: grpc.aio.ServicerContext) -> Call:
    """Deadline and key of a call. Raises ServiceError (validation-failed)."""
    remaining_s = context.time_remaining()
    given = dict(context.invocation_metadata() or ()).get("idempotency-key")
    return Call(
        deadline=math.inf if remaining_s is None else time.monotonic() + remaining_s,
        idempotency_key=None if given is None else idempotency_key(str(given)),
    )


def _read(kind: type[Message], data: bytes) -> dict[str, Any]:
    try:
        message = kind.FromString(data)
    except DecodeError:
        raise ServiceError(Code.MALFORMED_REQUEST, f"the bytes are no {kind.DESCRIPTOR.full_name} message") from None
    _refuse_unknown(message)
    return to_payload(message)


def _refuse_unknown(message: Message) -> None:
    """Raises ServiceError for unknown fields: one could be a limit that this server would not keep."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        number, name = unknown[0].field_number, message.DESCRIPTOR.full_name
        detail = f"field number {number} of {name} is not known to this server; remove it"
        raise ServiceError(Code.VALIDATION_FAILED, detail)
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = value.values() if field.message_type.fields_by_name["value"].message_type else ()
        else:
            inner = value if field.is_repeated else (value,)
        for item in inner:
            _refuse_unknown(item)
