"""Interface of a planner, the same over each transport."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from typing import Any, Literal, Self

import numpy as np

from telos.chunk import check_plan
from telos.errors import TelosError
from telos.from_wire import read
from telos.images import Format, described
from telos.observations import errors_at
from telos.payloads import (
    actions_payload,
    goals_payload,
    observation_payload,
    options_payload,
    session_payload,
    underway_payload,
    without_none,
)
from telos.replies import AnomalyReply, EncodeReply, ModelInfo, PlanReply, Session
from telos.requests import GoalLike, ObservationLike, PlanOptions, Underway

Method = Literal["plan", "anomaly", "encode", "create_session", "get_session", "reset_session", "delete_session"]


class Planner(ABC):
    """A connection to a Telos server. Every call raises TelosError. One planner is for one thread at a time."""

    image_format: Format
    """File format in which arrays are sent. PNG is lossless; JPEG is smaller and faster for large frames."""

    def __init__(self, image_format: Format) -> None:
        self.image_format = image_format
        self._models: dict[str, ModelInfo] = {}

    @abstractmethod
    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        """One request and its answer, as dictionaries of the wire contract."""

    def _stream(self, payload: dict[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        """Incumbents of a plan, then the final plan or a problem. This default gives the final plan alone."""
        yield {"final": self._call("plan", payload)}

    @abstractmethod
    def _list_models(self) -> Sequence[Mapping[str, Any]]: ...

    def _replace_connection(self) -> None:  # noqa: B027 - a planner without a connection has nothing to do
        """Drop the open connection: an answer that is still to come belongs to another request."""

    @abstractmethod
    def ready(self) -> bool:
        """True if the server can plan now; False also when it cannot be reached."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(
        self,
        model: str,
        context: Sequence[ObservationLike],
        goal: GoalLike,
        options: PlanOptions | None = None,
        *,
        action_history: Sequence[np.ndarray] = (),
        session: str | Session | None = None,
        underway: Underway | None = None,
        on_incumbent: Callable[[PlanReply], None] | None = None,
    ) -> PlanReply:
        """Actions that lead from the last frame of `context` to `goal`, or to several goals in order.

        `context` has frames one model step apart, oldest first; `action_history` has the actions executed between
        them, each [control_steps, actions] in physical units. `session` is the id of a robot's session, or a Session:
        the plan is then refused when the session was reset since. `on_incumbent` is called with the best plan so far,
        each time that the search finds a better one; over gRPC this opens a stream, which needs the step of the last
        frame. Raises ValueError, before anything is sent, for readings that do not fit the model's sensors.
        """
        payload = {
            "model": {"name": model},
            "context": self._observations(model, context, "context"),
            "action_history": actions_payload(action_history),
            "goals": goals_payload(goal, self.model(model), self.image_format),
            **options_payload(options or PlanOptions()),
            **session_payload(session),
            **underway_payload(underway),
        }
        if on_incumbent is None:
            return self._checked(self._exchange("plan", payload), payload)
        return self._last(payload | {"request_id": secrets.token_hex(8)}, on_incumbent)

    def create_session(self, session_id: str | None = None, *, hold_on_surprise: bool | None = None) -> Session:
        """Create a session, which remembers a robot between plans. A plan with a new session_id creates one too."""
        return self._ask_session("create_session", session_id=session_id, hold_on_surprise=hold_on_surprise)

    def session(self, session_id: str) -> Session:
        """The session's state. Raises TelosError (`session-not-found`), also after it was idle for too long."""
        return self._ask_session("get_session", session_id=session_id)

    def reset_session(self, session_id: str) -> Session:
        """Forget the session's last plan and discard the one under way. The epoch goes up."""
        return self._ask_session("reset_session", session_id=session_id)

    def delete_session(self, session_id: str) -> None:
        self._call("delete_session", {"session_id": session_id})

    def anomaly(
        self, model: str, observations: Sequence[ObservationLike], actions: Sequence[np.ndarray]
    ) -> AnomalyReply:
        """Surprise of each transition of a clip. `actions` has the actions executed between its frames."""
        payload = {
            "model": {"name": model},
            "observations": self._observations(model, observations, "observations"),
            "actions": actions_payload(actions),
        }
        return read(AnomalyReply, self._exchange("anomaly", payload))

    def encode(self, model: str, observations: Sequence[ObservationLike]) -> EncodeReply:
        """Latents of observations, each of which can be a goal later."""
        encoded = self._observations(model, observations, "observations")
        payload = {"model": {"name": model}, "observations": encoded}
        return read(EncodeReply, self._exchange("encode", payload))

    def models(self) -> tuple[ModelInfo, ...]:
        """Models that the server has."""
        return tuple(read(ModelInfo, model) for model in self._list_models())

    def model(self, name: str) -> ModelInfo:
        """One model, remembered after the first call. Raises TelosError (`model-not-found`)."""
        if name not in self._models:
            self._models |= {model.name: model for model in self.models()}
        if name not in self._models:
            raise TelosError("model-not-found", f"no model {name!r}; the server has {sorted(self._models)}")
        return self._models[name]

    def _ask_session(self, method: Method, **payload: Any) -> Session:
        return read(Session, self._call(method, without_none(payload)))

    def _checked(self, answer: Mapping[str, Any], payload: Mapping[str, Any]) -> PlanReply:
        """A plan that this robot may execute. Raises TelosError for any other."""
        reply = read(PlanReply, answer)
        check_plan(reply, self.model(payload["model"]["name"]))
        session_id, epoch = payload.get("session_id"), payload.get("session_epoch")
        if session_id not in (None, reply.session_id) or epoch not in (None, reply.session_epoch):
            given, wanted = (reply.session_id, reply.session_epoch), (session_id, epoch)
            raise TelosError("stale-reply", f"the plan is of session and epoch {given}, not {wanted}: discarded")
        return reply

    def _last(self, payload: dict[str, Any], on_incumbent: Callable[[PlanReply], None]) -> PlanReply:
        """Pass incumbents on, and return the final plan."""
        with closing(self._stream(payload)) as events:
            for event in events:
                if event.get("incumbent"):
                    on_incumbent(self._checked(self._own(event["incumbent"], payload), payload))
                elif event.get("final"):
                    return self._checked(self._own(event["final"], payload), payload)
                elif event.get("problem"):
                    raise TelosError.from_problem(event["problem"], event["problem"].get("status", 0))
        raise TelosError("unreadable-reply", "the stream ended without a plan and without a problem")

    def _own(self, answer: Mapping[str, Any], payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Accept only the answer to this request: a late reply to another must not be executed."""
        asked, given = payload["request_id"], answer.get("request_id")
        if given != asked:
            self._replace_connection()
            raise TelosError("stale-reply", f"the reply answers {given!r}, not {asked!r}: discarded")
        return answer

    def _exchange(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        asked = without_none(payload) | {"request_id": secrets.token_hex(8)}
        return self._own(self._call(method, asked), asked)

    def _observations(self, model: str, observations: Sequence[ObservationLike], field: str) -> list[dict[str, Any]]:
        """Raises ValueError that names the observation as an entry of `field`."""
        if not isinstance(observations, Sequence) or isinstance(observations, str | bytes):
            raise ValueError(f"{field} is {described(observations)}; wanted a list of observations, oldest first")
        info, payloads = self.model(model), []
        for index, each in enumerate(observations):
            with errors_at(f"{field}[{index}]"):
                payloads.append(observation_payload(each, info, self.image_format))
        return payloads
