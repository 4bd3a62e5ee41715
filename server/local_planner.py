"""A planner without a server process, with the interface of a remote one: robot code runs with either."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from server import schemas
from server.engine.local import LocalEngine
from server.engine.registry import Registry
from server.errors import ServiceError
from server.service import Service
from server.settings import Settings
from server.validation import request_id_of, validate
from telos.errors import TelosError
from telos.planner import Method, Planner

T = TypeVar("T")


class LocalPlanner(Planner):
    """Owns a service and the thread of its event loop. Models are warmed up when it is made.

    Unlike a connection, several threads may use it at a time: their plans share rollouts, as robots' plans do.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises CheckpointError or SettingsError when there is no model to plan with."""
        super().__init__(image_format="png")
        self._service = Service(LocalEngine(Registry.load(settings), settings), settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="telos-service", daemon=True)
        self._thread.start()
        self._do(self._service.engine.start())

    def ready(self) -> bool:
        return not self._service.why_not_ready()

    def close(self) -> None:
        self._do(self._service.engine.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        return self._do(self._ask(method, payload))

    def _list_models(self) -> Sequence[Mapping[str, Any]]:
        return [model.model_dump() for model in self._service.models().models]

    async def _ask(self, method: Method, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            match method:
                case "plan":
                    answer = await self._service.plan(validate(schemas.PlanRequest, payload))
                case "anomaly":
                    answer = await self._service.anomaly(validate(schemas.AnomalyRequest, payload))
                case "encode":
                    answer = await self._service.encode(validate(schemas.EncodeRequest, payload))
                case "create_session":
                    answer = await self._service.create_session(validate(schemas.CreateSessionRequest, payload))
                case "get_session":
                    answer = await self._service.session(validate(schemas.SessionRef, payload))
                case "reset_session":
                    answer = await self._service.reset_session(validate(schemas.SessionRef, payload))
                case "delete_session":
                    answer = await self._service.delete_session(validate(schemas.SessionRef, payload))
        except ServiceError as error:
            raise TelosError.from_problem(error.problem(request_id_of(payload)), error.kind.http_status) from error
        return answer.model_dump()
