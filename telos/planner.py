"""A planner behind a wire. Both transports answer the same calls with the same replies."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np

from telos.chunk import check_plan
from telos.errors import TelosError
from telos.images import Format, ImageLike, encode_image
from telos.replies import AnomalyReply, Embedding, EncodeReply, ModelInfo, PlannerConfig, PlanReply

Method = Literal["plan", "anomaly", "encode"]

R = TypeVar("R", covariant=True)


@dataclass(frozen=True, eq=False)
class Observation:
    """One frame of the model's camera. `step` is the robot's own counter, in control steps."""

    image: ImageLike
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class ActionLimits:
    """Physical units, one entry for each action. May only tighten the limits of the model."""

    min: tuple[float, ...]
    max: tuple[float, ...]
    max_delta: tuple[float, ...] = ()
    """Largest change from one control step to the next, also from the last action of the history; empty: any."""


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
        goal: ImageLike | Embedding,
        *,
        action_history: Sequence[np.ndarray] = (),
        planner: PlannerConfig | None = None,
        planning_budget_ms: int | None = None,
        session_id: str | None = None,
        warm_start: bool | None = None,
        limits: ActionLimits | None = None,
        committed_actions: np.ndarray | None = None,
        include: Sequence[Literal["costs", "latents"]] = ("costs",),
    ) -> PlanReply:
        """Actions that lead from the last frame of `context` to `goal`.

        `context` is oldest first, one model step apart; `action_history` holds what was executed between its frames,
        each [control_steps, actions] in physical units. `committed_actions`, [steps, actions], are the plan's first
        control steps, which the robot runs while it waits: the plan begins with them and takes them into account.
        """
        payload = {
            "model": {"name": model},
            "context": self._observations(model, context),
            "action_history": _blocks(action_history),
            "goals": [self._goal(model, goal)],
            "planner": None if planner is None else _without_none(asdict(planner)),
            "planning_budget_ms": planning_budget_ms,
            "session_id": session_id,
            "warm_start": warm_start,
            "limits": None if limits is None else {key: list(value) for key, value in asdict(limits).items()},
            "committed_actions": None if committed_actions is None else np.asarray(committed_actions, np.float64),
            "include": list(include),
        }
        reply = _read(PlanReply, self._exchange("plan", payload))
        check_plan(reply, self.model(model))
        return reply

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

    def _exchange(self, method: Method, payload: dict[str, Any]) -> Mapping[str, Any]:
        """Ask, and accept only the answer to this very question: a late reply must not be executed."""
        request_id = secrets.token_hex(8)
        answer = self._call(method, _without_none(payload) | {"request_id": request_id})
        if answer.get("request_id") != request_id:
            given = answer.get("request_id")
            self._replace_connection()
            raise TelosError("stale-reply", f"the reply answers {given!r}, not {request_id!r}: discarded")
        return answer

    def _observations(self, model: str, observations: Sequence[Observation]) -> list[dict[str, Any]]:
        camera = self.model(model).camera
        pictures = (encode_image(o.image, self.image_format) for o in observations)
        return [
            _without_none({"images": {camera: picture}, "step": o.step})
            for o, picture in zip(observations, pictures, strict=True)
        ]

    def _goal(self, model: str, goal: ImageLike | Embedding) -> dict[str, Any]:
        if isinstance(goal, Embedding):
            return {"embedding": {"space_id": goal.space_id, "latents": goal.latents}}
        return {"observation": self._observations(model, [Observation(goal)])[0]}


class _Reply(Protocol[R]):
    def from_payload(self, data: Mapping[str, Any], /) -> R: ...


def _read(kind: _Reply[R], payload: Mapping[str, Any]) -> R:
    """Raises TelosError when what came is not what was asked for."""
    try:
        return kind.from_payload(payload)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TelosError("unreadable-reply", f"the reply lacks something or has it wrong: {error!r}") from error


def _blocks(actions: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(block, dtype=np.float64) for block in actions]


def _without_none(payload: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in payload.items() if value is not None}
