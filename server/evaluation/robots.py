"""Simulated robots: the world of each in a process of its own, its agent in a thread of this one.

All robots' plans are in flight at once, so that an engine imagines them together. What a robot does depends on no
other robot, so an evaluation comes out the same however many there are.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from envs.mujoco_env import MujocoGoalEnv, SensorReadings
from server.evaluation.agents import PlanningAgent, RandomAgent
from server.evaluation.disturbance import Disturbance
from server.evaluation.protocols import PairStream, Protocol, Split, StartAndGoal, plan_seed
from server.evaluation.rows import FILM, FILMED_EPISODES, play, rounded
from server.evaluation.simulation import simulation
from server.evaluation.worlds import NOMINAL
from telos.planner import Planner
from telos.replies import ModelInfo, PlannerConfig

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

Row = dict[str, Any]

EXCLUDED: Row = {"excluded": True}
"""The row of an episode whose start is a success in its world."""
_END_S = 10.0


class SimulationError(RuntimeError):
    """A simulation's process ended before its episode did."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Settings that all episodes share."""

    model: ModelInfo
    protocol: Protocol
    preset: str
    split: Split = "development"
    disturbed: Mapping[str, str] = field(default_factory=dict)
    """Disturbance of each disturbed sensor, by its name."""

    def stream(self, seed: int) -> PairStream:
        """The pairs of one seed."""
        return PairStream(env_id=self.model.task, protocol=self.protocol, split=self.split, seed=seed)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One episode. `index` counts the pairs of `seed`; `pair` is that of the nominal world."""

    seed: int
    index: int
    pair: StartAndGoal
    world: str = NOMINAL

    @property
    def name(self) -> str:
        """The row's name in the journal."""
        return job_name(self.world, self.seed, self.index)

    @property
    def plan_seed(self) -> int:
        """Seed of all plans in the episode."""
        return plan_seed(self.seed, self.index)


@dataclass(frozen=True)
class ActionsWanted:
    """The sensors' readings now, to be answered with the actions of one model step."""

    readings: SensorReadings


def job_name(world: str, seed: int, index: int) -> str:
    """Name of one episode in one world."""
    return f"{world} {seed} {index}"


def run_jobs(
    planners: Sequence[Planner], setting: Setting, jobs: Iterable[Job], on_plan: Callable[[], None]
) -> Iterator[tuple[Job, Row]]:
    """Yield each row as soon as it is known. There is one robot for each planner; a free robot takes the next job.

    `on_plan` is called after each plan, from several threads.

    Raises TelosError when no plan can be had, and SimulationError; every process is gone then.
    """
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(len(planners), thread_name_prefix="telos-robot"))
        idle = [stack.enter_context(Robot(planner, setting, on_plan)) for planner in planners]
        busy: dict[Future[Row], tuple[Robot, Job]] = {}
        waiting = iter(jobs)
        while True:
            for job in islice(waiting, len(idle)):
                robot = idle.pop()
                busy[threads.submit(robot.play, job)] = robot, job
            if not busy:
                return
            for done in wait(busy, return_when=FIRST_COMPLETED).done:
                robot, job = busy.pop(done)
                idle.append(robot)
                yield job, done.result()


class Robot:
    """A simulation and the planner that its robot asks; use it from one thread at a time."""

    def __init__(self, planner: Planner, setting: Setting, on_plan: Callable[[], None] = lambda: None) -> None:
        self._planner = planner
        self._setting = setting
        self._on_plan = on_plan
        self._pipe, theirs = _context().Pipe()
        self._process: BaseProcess = _context().Process(target=_simulate, args=(theirs, setting), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def play(self, job: Job) -> Row:
        """Play one episode and return its row. Raises TelosError, SimulationError."""
        config = PlannerConfig(preset=self._setting.preset, seed=job.plan_seed)
        self._send(job)
        goal = self._receive()
        if goal is None:
            return EXCLUDED
        agent = PlanningAgent(self._planner, self._setting.model.name, goal, config)
        disturb = Disturbance(self._setting.disturbed, self._setting.model.sensors)
        while isinstance(message := self._receive(), ActionsWanted):
            self._send(agent.act(disturb(message.readings)))
            self._on_plan()
        return message | {
            "predicted_costs": [rounded(reply.predicted_cost) for reply in agent.replies],
            "surprises": [rounded(reply.surprise) for reply in agent.replies],
        }

    def _send(self, message: Job | np.ndarray) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._ended() from error

    def _receive(self) -> Any:
        """Readings of the sensors in the goal state, then those of each model step (ActionsWanted), then the row.

        None instead of all of them when the start is a success.
        """
        try:
            return self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> SimulationError:
        self._process.join(_END_S)
        code = self._process.exitcode
        return SimulationError(f"a simulation's process ended with exit code {code} before its episode did")


class _Remote:
    """Stands for the agent in the process of the simulation: asks it through the pipe."""

    def __init__(self, pipe: Connection, goal: SensorReadings) -> None:
        self._pipe = pipe
        self._pipe.send(goal)

    def act(self, readings: SensorReadings) -> np.ndarray:
        self._pipe.send(ActionsWanted(readings))
        return self._pipe.recv()


def _simulate(pipe: Connection, setting: Setting) -> None:
    """The process of a simulation. It ends with the pipe, when its parent is done or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends this process
    with closing(simulation(setting.model)) as env:
        try:
            while True:
                pipe.send(_played(pipe, env, setting, pipe.recv()))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _played(pipe: Connection, env: MujocoGoalEnv, setting: Setting, job: Job) -> Row | None:
    """The row of one job; None when the start is a success in the world of the job."""
    pair = job.pair
    if job.world != NOMINAL:
        stream = setting.stream(job.seed)
        pair = stream.pair(env, pair.episode, stream.world(env.variation_class, job.world, pair.episode))
        if env.is_success(pair.start, pair.goal):
            return None
    chance = RandomAgent(setting.model.required_action, job.plan_seed)
    row = play(env, pair, setting.protocol.budget_steps, lambda goal: _Remote(pipe, goal), chance)
    if row["success"] and job.index >= FILMED_EPISODES:
        del row[FILM]
    return {"seed": job.seed, **row}


def _context() -> "SpawnContext | ForkServerContext":
    """A fork server where there is one: it imports the simulator once, and not in every process."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context
