"""Blocks written by many processes on many machines: Ray's actors, each with the model in its memory.

    with Fleet(files, config.ray, precision="auto") as fleet:      # starts Ray here, or joins the cluster at `address`
        for name, chains in fleet.write(blocks): ...

The process that owns the fleet plans the blocks and is the only one that stores anything. A worker has one block at a
time, pulled when it is sent. A worker that dies takes only that block with it: the block goes to the next one, and a
new worker is hired. Ray places workers and finds out that they died; Ray Data is not used, because it wants its whole
input before it begins, and a block must be journaled when it is sent.

Exactly once: a block's chains come out of `write` when its worker's answer has arrived whole, and never again.
"""

import math
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from scotd.blocks import Block, Written, shared_beginning
from scotd.config import RayConfig
from scotd.device import Precision, compute_dtype, keep_memory, pick_device
from scotd.errors import ConfigError, RunError, ScotdError
from scotd.models import ModelFiles
from scotd.progress import Tracker, silent
from scotd.student import Stored, load, on_disk
from scotd.tokens import load_tokenizer

T = TypeVar("T")

TRIES = 3  # workers that may die over the same block before the run ends
POLL_SECONDS = 0.25  # how often a waiting fleet looks whether it was told to leave
CONNECT_SECONDS = 5
OBJECT_STORE = 256 << 20  # bytes, where Ray is started here: blocks are small


@dataclass(frozen=True, kw_only=True)
class _Crew:
    """How many workers, and what each of them gets of the cluster."""

    workers: int
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What a worker is doing: a block, with its caller's name for it and the beginning it shares; None is loading."""

    block: tuple[Any, Block, tuple[int, ...]] | None
    deaths: int = 0


class Worker:
    """Runs in a process of Ray's: one model, loaded with `ready`, and a block at a time."""

    def __init__(self, files: ModelFiles, precision: Precision, device: str | None, writer: str) -> None:
        self.files = files
        self.precision = precision
        self.device = device
        self.kind = writer
        self._write: Callable[[Block, tuple[int, ...]], Written] | None = None

    def ready(self) -> int:
        """Load the model; returns the process id. Here and not in `__init__`, so that what goes wrong is told whole."""
        if self.kind == "vllm":
            from scotd.vllm_writer import VllmWriter

            self._write = VllmWriter(self.files, self.precision).complete
            return os.getpid()
        from scotd.decode import Decoder

        keep_memory()
        device = pick_device(self.device)
        dtype = compute_dtype(self.precision, device)
        loaded = load(self.files, dtype=dtype, device=device, stored=stored_as(dtype))
        decoder = Decoder(loaded.model, loaded.tokenizer)

        def write(block: Block, shared: tuple[int, ...]) -> Written:
            decoder.hold(shared)
            return decoder.complete(block.prompts, block.seeds, block.sampling)

        self._write = write
        return os.getpid()

    def write(self, block: Block, shared: tuple[int, ...]) -> Written:
        assert self._write is not None
        return self._write(block, shared)


class Fleet:
    """Satisfies `blocks.Writer` with workers on Ray. Closing it ends them, and Ray where it was started here."""

    def __init__(
        self,
        files: ModelFiles,
        config: RayConfig,
        *,
        precision: Precision,
        device: str | None = None,
        progress: Tracker = silent,
        left: Callable[[], bool] = lambda: False,
    ) -> None:
        """`left` says when blocks under way are not worth waiting for: `write` then ends without them."""
        self.ray = _ray()
        dtype = compute_dtype(precision, pick_device(device))
        self.files = on_disk(files, stored_as(dtype), progress)  # once, not in every worker
        self.tokenizer = load_tokenizer(self.files)
        self.shared: tuple[int, ...] = ()
        self.left = left
        self._arguments = (self.files, precision, device, writer_of(config))
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, _Task]] = {}
        self._started = not self.ray.is_initialized()
        if self._started:
            _connect(self.ray, config)
        try:
            crew = _crew(self.ray, config)
            options = {"num_cpus": crew.cpus, "num_gpus": crew.gpus, "max_restarts": 0, "max_task_retries": 0}
            self._hired = self.ray.remote(**options)(Worker)
            for _ in range(crew.workers):
                self._hire(deaths=0)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every worker, whatever it is doing."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            self.ray.kill(worker)
        self._idle, self._busy = [], {}
        if self._started:
            self.ray.shutdown()

    def share(self, prompts: Sequence[Sequence[int]]) -> int:
        self.shared = shared_beginning(prompts)
        return len(self.shared)

    def write(self, blocks: Iterable[tuple[T, Block]]) -> Iterator[tuple[T, Written]]:
        """Yield each block's chains once, in the order in which they are done.

        Raises RunError where workers keep dying over the same block, and what a worker raises.
        """
        assert all(task.block is None for _, task in self._busy.values()), "blocks of an earlier call are under way"
        todo = iter(blocks)
        lost: deque[_Task] = deque()
        while not self.left():
            self._hand_out(todo, lost)
            if self._idle and all(task.block is None for _, task in self._busy.values()):
                return
            done, _ = self.ray.wait(list(self._busy), num_returns=1, timeout=POLL_SECONDS)
            finished = [(task.block[0], found) for task, found in self._collect(done, lost) if task.block is not None]
            self._hand_out(todo, lost)  # nobody waits until the caller has stored what came
            yield from finished

    def _hand_out(self, todo: Iterator[tuple[Any, Block]], lost: deque[_Task]) -> None:
        while self._idle and (task := self._next(todo, lost)) is not None:
            assert task.block is not None
            _, block, shared = task.block
            worker = self._idle.pop()
            self._busy[worker.write.remote(block, shared)] = (worker, task)

    def _collect(self, done: Sequence[Any], lost: deque[_Task]) -> Iterator[tuple[_Task, Written]]:
        for answer in done:
            worker, task = self._busy.pop(answer)
            try:
                found = self.ray.get(answer)
            except self.ray.exceptions.RayTaskError as error:
                self._idle.append(worker)
                raise error.cause if isinstance(error.cause, ScotdError) else error from None
            except self.ray.exceptions.RayError as error:
                self._bury(worker, task, lost, error)
            else:
                self._idle.append(worker)
                yield task, found

    def _next(self, todo: Iterator[tuple[Any, Block]], lost: deque[_Task]) -> _Task | None:
        if lost:
            return lost.popleft()
        following = next(todo, None)
        return None if following is None else _Task(block=(*following, self.shared))

    def _hire(self, deaths: int) -> None:
        worker = self._hired.remote(*self._arguments)
        self._busy[worker.ready.remote()] = (worker, _Task(block=None, deaths=deaths))

    def _bury(self, worker: Any, task: _Task, lost: deque[_Task], error: Exception) -> None:
        """A worker died: its block goes first to whoever is free, and another worker takes its place."""
        self.ray.kill(worker)  # one that is merely out of reach must not go on
        deaths = task.deaths + 1
        if deaths == TRIES:
            doing = "while loading the model" if task.block is None else "over the same chains"
            raise RunError(
                f"engine: ray: {TRIES} workers died {doing}: most often for want of memory; give a worker more with "
                f"ray.cpus or fewer ray.workers, or write fewer chains at once ({str(error).strip().splitlines()[0]})"
            )
        if task.block is not None:
            lost.append(_Task(block=task.block, deaths=deaths))
        self._hire(deaths if task.block is None else 0)


def writer_of(config: RayConfig) -> str:
    """What writes the chains in a worker, "vllm" or "scotd": as set, or vLLM where it is installed beside a GPU."""
    from importlib.util import find_spec

    if config.writer != "auto":
        return config.writer
    return "vllm" if find_spec("vllm") is not None and pick_device().type == "cuda" else "scotd"


def stored_as(dtype: Any) -> Stored:
    """The precision in which a GGUF file is dequantised for a model that computes in `dtype`."""
    return "bfloat16" if str(dtype) == "torch.bfloat16" else "float32"


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError("engine: ray: Ray is not installed: pip install 'scotd[local,ray]'.") from None
    return ray


def _connect(ray: Any, config: RayConfig) -> None:
    """Join the cluster, or start Ray for this process alone, reachable from this machine only."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of an experiment is told to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's own future default; it warns otherwise
    here = {"include_dashboard": False, "object_store_memory": OBJECT_STORE, "_node_ip_address": "127.0.0.1"}
    options = here if config.address is None else {"address": config.address}
    try:
        host, _, port = (config.address or "").rpartition(":")
        if host and port.isdecimal() and "://" not in host:
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()  # Ray tries for half an hour
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError) as error:
        problem = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"ray.address: {config.address}: no Ray cluster answers there ({problem}): start it with `ray start "
            "--head`, or leave the address out."
        ) from None
    except Exception as error:
        if type(error) is not Exception:  # Ray's way of saying that its own processes did not come up
            raise
        problem = str(error).strip().partition("\n")[0]
        raise RunError(
            f"engine: ray: Ray could not be started on this machine ({problem}): it gives up after 30 seconds, so try "
            "again when the machine is less busy, or leave `engine` out."
        ) from None


def _crew(ray: Any, config: RayConfig) -> _Crew:
    """Workers as set, or one for each GPU, or where there is none one for each machine with all of its cores.

    Raises ConfigError where they do not fit into the cluster: Ray would wait for ever.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    there = ray.cluster_resources()
    gpus = config.gpus if config.gpus is not None else float(there.get("GPU", 0) >= 1)
    workers = config.workers or (int(there.get("GPU", 0) / gpus) if gpus else len(machines))
    cores = min(int(machine.get("CPU", 0)) for machine in machines)
    cpus = config.cpus or (1.0 if gpus else max(1.0, cores // math.ceil(workers / len(machines))))
    for kind, each in (("CPU", cpus), ("GPU", gpus)):
        fitting = sum(int(machine.get(kind, 0) / each) for machine in machines) if each else workers
        if fitting < max(workers, 1):
            raise ConfigError(
                f"ray.workers: {workers} workers with {each:g} {kind}s each do not fit into a cluster of "
                f"{there.get(kind, 0):g} {kind}s on {len(machines)} machines, {fitting} do: set ray.workers, ray.cpus, "
                "ray.gpus."
            )
    return _Crew(workers=workers, cpus=cpus, gpus=gpus)
