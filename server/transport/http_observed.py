"""Outermost layer of the HTTP application, which observes every request."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.observability.observer import NO_ENDPOINT, Observer


class ObservedRequests:
    """ASGI middleware. The endpoint is the path of the declared route, never the path of the request."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app = app
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._observer.request(NO_ENDPOINT, Headers(scope=scope).get("traceparent", "")) as seen:
            try:
                await self._app(scope, receive, send)
            finally:
                seen.endpoint = getattr(scope.get("route"), "path", NO_ENDPOINT)
