"""Refusals before a gRPC handler runs, and the deadline for a request to arrive."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from server.errors import DOMAIN, Code, ServiceError
from server.observability.observer import NO_ENDPOINT, Observer, note_problem
from server.settings import Settings
from server.transport.access import client_name, credential_of
from server.transport.admission import Admission, Place
from server.validation import new_request_id

_HEALTH_PATH = "/grpc.health.v1.Health/"

Parse = Callable[[bytes], Any] | None


class GrpcGate(grpc.aio.ServerInterceptor):
    """Every method but the health check needs the token. Every call takes a place and must send its request in time.

    For the framework each guarded method takes a stream of bytes: only that can be read under a deadline, when there is
    memory for it, and without an exception for bytes that are not a message. Clients see no difference.
    """

    def __init__(self, settings: Settings, admission: Admission, observer: Observer) -> None:
        self._settings = settings
        self._admission = admission
        self._observer = observer

    async def intercept_service(self, continuation: Any, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler = await continuation(handler_call_details)
        tokens = () if handler_call_details.method.startswith(_HEALTH_PATH) else self._settings.tokens
        if handler is None:
            refused = self._guarded(NO_ENDPOINT, _unknown, tokens)
            return grpc.stream_stream_rpc_method_handler(refused) if tokens else None
        answer = self._with_stream(handler) if handler.request_streaming else self._with_one_request(handler)
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler
        else:
            make = grpc.stream_unary_rpc_method_handler
        streams = handler.request_streaming or handler.response_streaming
        guarded = self._guarded(handler_call_details.method, answer, tokens, streams=streams)
        return make(guarded, None, handler.response_serializer)

    def _guarded(self, method: str, answer: Any, tokens: tuple[str, ...], *, streams: bool = False) -> Any:
        async def guarded(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            with self._observer.request(method, str(metadata.get("traceparent", ""))):
                try:
                    with self._admission.place(self._client(context, tokens), streams=streams) as place:
                        return await answer(messages, context, place)
                except ServiceError as error:
                    return refusal(context, error, new_request_id())

        return guarded

    def _client(self, context: grpc.aio.ServicerContext, tokens: tuple[str, ...]) -> str:
        """Name of the client. Raises ServiceError (unauthenticated; rate-limited after many wrong tokens)."""
        kind, _, rest = context.peer().partition(":")
        address = rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else context.peer()
        certificate = b"".join(context.auth_context().get("x509_common_name", ())).decode("utf-8", "replace")
        metadata = dict(context.invocation_metadata() or ())
        try:
            credential = credential_of(str(metadata.get("authorization", "")), tokens)
        except ServiceError:
            self._admission.spend(client_name("", certificate, address))
            raise
        return client_name(credential, certificate, address)

    def _with_one_request(self, handler: Any) -> Any:
        async def answer(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext, place: Place) -> Any:
            request = _parsed(handler.request_deserializer, await self._receive(messages, place))
            if not handler.response_streaming:
                return await handler.unary_unary(request, context)
            return await _drained(handler.unary_stream(request, context), context)

        return answer

    def _with_stream(self, handler: Any) -> Any:
        async def answer(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext, place: Place) -> Any:
            parsed = (_parsed(handler.request_deserializer, message) async for message in messages)
            if not handler.response_streaming:
                return await handler.stream_unary(parsed, context)
            return await _drained(handler.stream_stream(parsed, context), context)

        return answer

    async def _receive(self, messages: AsyncIterator[bytes], place: Place) -> bytes:
        """The request's bytes. Raises ServiceError (receive-timeout, malformed-request, rate-limited, queue-full)."""
        seconds = self._settings.receive_timeout_s
        try:
            async with asyncio.timeout(seconds), place.receiving():
                data = await anext(messages, None)
                place.resize(len(data or b""))
        except TimeoutError:
            detail = f"the message did not arrive within {seconds:g} s; send it faster or make it smaller"
            raise ServiceError(Code.RECEIVE_TIMEOUT, detail) from None
        if data is None:
            raise ServiceError(Code.MALFORMED_REQUEST, "the call ended before its message; send one")
        return data


def refusal(context: grpc.aio.ServicerContext, error: ServiceError, request_id: str) -> bytes:
    """Refuse: returns an empty message, and puts google.rpc.Status into the call's trailer.

    `context.abort` is not used: its exception and the call refer to each other, so a refused request would take memory
    until the next garbage collection.
    """
    note_problem(error.code, request_id)
    code = error.kind.grpc_code
    number: int = code.value[0]
    metadata = {"request_id": request_id, "retryable": str(error.kind.retryable).lower()}
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.code, domain=DOMAIN, metadata=metadata)]
    if error.errors:
        violations = [{"field": e.pointer, "description": e.reason} for e in error.errors]
        details.append(error_details_pb2.BadRequest(field_violations=violations))  # type: ignore[arg-type]
    if error.retry_after_ms is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        details.append(retry)
    packed = [AnyMessage() for _ in details]
    for holder, detail in zip(packed, details, strict=True):
        holder.Pack(detail)
    status = status_pb2.Status(code=number, message=error.detail, details=packed)
    context.set_code(code)
    context.set_details(error.detail)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    return b""


def _parsed(parse: Parse, data: bytes) -> Any:
    """The parsed message. Raises ServiceError (malformed-request)."""
    if parse is None:
        return data
    try:
        return parse(data)
    except Exception:  # protobuf raises various exceptions
        raise ServiceError(Code.MALFORMED_REQUEST, "the bytes are not the message of this method") from None


async def _drained(answers: Any, context: grpc.aio.ServicerContext) -> None:
    """Send the answers of a streaming handler, unless it has written them itself."""
    if not inspect.isasyncgen(answers):
        await answers
        return
    async with contextlib.aclosing(answers):
        async for answer in answers:
            await context.write(answer)


async def _unknown(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext, place: Place) -> None:
    context.set_code(grpc.StatusCode.UNIMPLEMENTED)
    context.set_details("Method not found!")
