"""A planner behind a wire. Both transports answer the same calls with the same replies."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np

from telos.chunk import check_plan
from telos.errors import TelosError
from telos.images import Format, ImageLike, encode_image
from telos.replies import AnomalyReply, Embedding, EncodeReply, ModelInfo, PlannerConfig, PlanReply, Session
from telos.requests import ActionLimits, Cost, Goal, GoalLike, Observation

Method = Literal["plan", "anomaly", "encode", "create_session", "get_session", "reset_session", "delete_session"]

R = TypeVar("R", covariant=True)


class Planner(ABC):
    """A connection to a Telos server. Every call raises TelosError. One planner is for one thread at a time."""

    image_format: Format
    """What arrays are sent as. PNG is lossless; JPEG is smaller and faster for large frames."""

    def __init__(self, image_format: Format) -> None:
        self.image_format = image_format
        self._models: dict[str, ModelInfo] = {}

    @abstractmethod
    def _call(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        """One request and its answer, as dictionaries of the wire contract."""

    def _stream(self, payload: dict[str, Any]) -> Generator[Mapping[str, Any], None, None]:
        """A plan's incumbents, then the final one or a problem. Who cannot tell any earlier tells the final one."""
        yield {"final": self._call("plan", payload)}

    @abstractmethod
    def _list_models(self) -> Sequence[Mapping[str, Any]]: ...

    def _replace_connection(self) -> None:  # noqa: B027 - who has no connection has nothing to do
        """What is open carries answers to other questions, or none: nothing of it must be read any more."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the server can plan now: False also when it cannot be reached."""

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def plan(
        self,
        model: str,
        context: Sequence[Observation],
        goal: GoalLike,
        *,
        action_history: Sequence[np.ndarray] = (),
        planner: PlannerConfig | None = None,
        cost: Cost | None = None,
        planning_budget_ms: int | None = None,
        require_complete: bool | None = None,
        session_id: str | None = None,
        session_epoch: int | None = None,
        warm_start: bool | None = None,
        hold_on_surprise: bool | None = None,
        limits: ActionLimits | None = None,
        inference_delay_steps: int | None = None,
        committed_actions: np.ndarray | None = None,
        include: Sequence[Literal["costs", "latents"]] = ("costs",),
        on_incumbent: Callable[[PlanReply], None] | None = None,
    ) -> PlanReply:
        """Actions that lead from the last frame of `context` to `goal`, or to several goals in order.

        `context` is oldest first, one model step apart; `action_history` holds what was executed between its frames,
        each [control_steps, actions] in physical units. `committed_actions`, [steps, actions], are the plan's first
        control steps, which the robot runs while it waits: the plan begins with them and takes them into account. With
        `inference_delay_steps` the reply leaves out so many control steps, those that the robot runs meanwhile.
        `on_incumbent` takes the best plan so far, each time that the search has found a better one;
        over gRPC that is a stream, which has a session and wants the step of the last frame.
        """
        payload = {
            "model": {"name": model},
            "context": self._observations(model, context),
            "action_history": _blocks(action_history),
            "goals": self._goals(model, goal),
            "planner": None if planner is None else _without_none(asdict(planner)),
            "cost": None if cost is None else _cost(cost),
            "planning_budget_ms": planning_budget_ms,
            "require_complete": require_complete,
            "session_id": session_id,
            "session_epoch": session_epoch,
            "warm_start": warm_start,
            "hold_on_surprise": hold_on_surprise,
            "limits": None if limits is None else {key: list(value) for key, value in asdict(limits).items()},
            "inference_delay_steps": inference_delay_steps,
            "committed_actions": None if committed_actions is None else np.asarray(committed_actions, np.float64),
            "include": list(include),
        }
        if on_incumbent is None:
            return self._checked(self._exchange("plan", payload), payload)
        return self._last(_without_none(payload) | {"request_id": secrets.token_hex(8)}, on_incumbent)

    def create_session(self, session_id: str | None = None, *, hold_on_surprise: bool | None = None) -> Session:
        """Memory of a robot between two plans. A plan with a new session_id makes one by itself."""
        return self._ask_session("create_session", session_id=session_id, hold_on_surprise=hold_on_surprise)

    def session(self, session_id: str) -> Session:
        """What is known of it. Raises TelosError (`session-not-found`) also when it was idle for too long."""
        return self._ask_session("get_session", session_id=session_id)

    def reset_session(self, session_id: str) -> Session:
        """Forget its last plan, and throw away the one under way. The epoch goes up."""
        return self._ask_session("reset_session", session_id=session_id)

    def delete_session(self, session_id: str) -> None:
        self._call("delete_session", {"session_id": session_id})

    def anomaly(self, model: str, observations: Sequence[Observation], actions: Sequence[np.ndarray]) -> AnomalyReply:
        """How surprising each transition of a clip is. `actions` holds what was executed between its frames."""
        payload = {
            "model": {"name": model},
            "observations": self._observations(model, observations),
            "actions": _blocks(actions),
        }
        return _read(AnomalyReply, self._exchange("anomaly", payload))

    def encode(self, model: str, images: Sequence[ImageLike]) -> EncodeReply:
        """Latents of images, each of which can be sent as a goal later."""
        observations = self._observations(model, [Observation(image) for image in images])
        payload = {"model": {"name": model}, "observations": observations}
        return _read(EncodeReply, self._exchange("encode", payload))

    def models(self) -> tuple[ModelInfo, ...]:
        """What the server can plan with."""
        return tuple(_read(ModelInfo, model) for model in self._list_models())

    def model(self, name: str) -> ModelInfo:
        """One model, asked for once and remembered."""
        if name not in self._models:
            self._models |= {model.name: model for model in self.models()}
        if name not in self._models:
            raise TelosError("model-not-found", f"no model {name!r}; the server has {sorted(self._models)}")
        return self._models[name]

    def _ask_session(self, method: Method, **payload: Any) -> Session:
        return _read(Session, self._call(method, _without_none(payload)))

    def _checked(self, answer: Mapping[str, Any], payload: Mapping[str, Any]) -> PlanReply:
        """Raises TelosError for a plan that no robot, or not this one, must execute."""
        reply = _read(PlanReply, answer)
        check_plan(reply, self.model(payload["model"]["name"]))
        session_id, epoch = payload.get("session_id"), payload.get("session_epoch")
        if session_id not in (None, reply.session_id) or epoch not in (None, reply.session_epoch):
            given, wanted = (reply.session_id, reply.session_epoch), (session_id, epoch)
            raise TelosError("stale-reply", f"the plan is of session and epoch {given}, not {wanted}: discarded")
        return reply

    def _last(self, payload: dict[str, Any], on_incumbent: Callable[[PlanReply], None]) -> PlanReply:
        """Hand on what comes, and return what comes last."""
        with closing(self._stream(payload)) as events:
            for event in events:
                if event.get("incumbent"):
                    on_incumbent(self._checked(self._own(event["incumbent"], payload), payload))
                elif event.get("final"):
                    return self._checked(self._own(event["final"], payload), payload)
                elif event.get("problem"):
                    raise TelosError.from_problem(event["problem"], event["problem"].get("status", 0))
        raise TelosError("unreadable-reply", "the stream ended without a plan and without a reason")

    def _own(self, answer: Mapping[str, Any], payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Accept only the answer to this very question: a late reply must not be executed."""
        asked, given = payload["request_id"], answer.get("request_id")
        if given != asked:
            self._replace_connection()
            raise TelosError("stale-reply", f"the reply answers {given!r}, not {asked!r}: discarded")
        return answer

    def _exchange(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        asked = _without_none(payload) | {"request_id": secrets.token_hex(8)}
        return self._own(self._call(method, asked), asked)

    def _observations(self, model: str, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        camera = self.model(model).camera
        pictures = (encode_image(o.image, self.image_format) for o in observations)
        return [
            _without_none({"images": {camera: picture}, "step": o.step})
            for o, picture in zip(observations, pictures, strict=True)
        ]

    def _goals(self, model: str, goal: GoalLike) -> list[dict[str, Any]]:
        goals = goal if isinstance(goal, list | tuple) else (Goal(goal),)
        return [
            _without_none({**self._goal_target(model, each.target), "weight": each.weight, "tolerance": each.tolerance})
            for each in goals
        ]

    def _goal_target(self, model: str, target: ImageLike | Embedding) -> dict[str, Any]:
        if isinstance(target, Embedding):
            return {"embedding": _embedding(target)}
        return {"observation": self._observations(model, [Observation(target)])[0]}


class _Reply(Protocol[R]):
    def from_payload(self, data: Mapping[str, Any], /) -> R: ...


def _read(kind: _Reply[R], payload: Mapping[str, Any]) -> R:
    """Raises TelosError when what came is not what was asked for."""
    try:
        return kind.from_payload(payload)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TelosError("unreadable-reply", f"the reply lacks something or has it wrong: {error!r}") from error


def _embedding(embedding: Embedding) -> dict[str, Any]:
    return {"space_id": embedding.space_id, "latents": embedding.latents}


def _cost(cost: Cost) -> dict[str, Any]:
    areas = [
        _without_none(
            {"embeddings": [_embedding(e) for e in area.embeddings], "radius": area.radius, "weight": area.weight}
        )
        for area in cost.keep_out
    ]
    plain = {"distance": cost.distance, "over": cost.over, "smoothness": cost.smoothness, "effort": cost.effort}
    return _without_none({**plain, "keep_out": areas or None})


def _blocks(actions: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(block, dtype=np.float64) for block in actions]


def _without_none(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if value is not None}
