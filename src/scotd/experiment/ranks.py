"""Several processes under torchrun or accelerate launch: the first runs the experiment, the others train with it.

    torchrun --nproc-per-node 2 -m scotd.cli run exp.yaml

    rank 0   sample, select, [announce a job] train, evaluate, report       the only one that writes
    others   wait for a job, train, wait for the next, until there is none

Whatever is not training happens in the first process alone while the others wait. A process that fails ends: the
launcher then ends the others, and the same command goes on from the last checkpoint.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from scotd.config import TrainingConfig
from scotd.device import pick_device
from scotd.errors import ConfigError
from scotd.lora import adapt
from scotd.models import ModelFiles
from scotd.student import Loaded, load
from scotd.token_store import TokenStore
from scotd.train import DevMetric, OnStep, Trained, train

PATIENCE = timedelta(days=30)  # the others wait while the first one samples; the launcher ends them if it dies


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training that all processes do together: everything that `train` needs. `folder` is seen by all of them."""

    base: ModelFiles
    settings: TrainingConfig
    examples: TokenStore
    folder: Path
    dtype: torch.dtype
    picks_on_dev: bool

    def train(self, loaded: Loaded, *, on_step: OnStep, dev_metric: DevMetric | None) -> Trained:
        """Train as every process of it does."""
        return train(
            loaded,
            self.examples,
            self.settings,
            folder=self.folder,
            dtype=self.dtype,
            on_step=on_step,
            dev_metric=dev_metric,
            accumulation=self.settings.accumulation,
        )


@contextmanager
def leading() -> Iterator[None]:
    """Be the first of several processes: the others are dismissed in the end.

    Raises ConfigError where the launcher asks for something that would silently not happen.
    """
    _join()
    yield  # after an error nobody is dismissed: they may be in the middle of a step, and the launcher ends them
    _tell(None)
    distributed.destroy_process_group()


def announce(job: Job) -> None:
    """Let the other processes train with this one from here on, where there are any.

    Raises ConfigError for adapters on a sharded model, which could not be merged.
    """
    if not distributed.is_initialized():
        return
    if job.settings.lora is not None and _sharding():
        raise ConfigError(
            "training.lora: adapters cannot be merged into a model that FSDP spread: leave one of them out."
        )
    _tell(job)


def processes() -> int:
    """How many train together; 1 in a process alone."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def follow() -> None:
    """Be one of the other processes, until the first has no more jobs."""
    _join()
    while (job := _tell(None)) is not None:
        torch.manual_seed(job.settings.seed)
        loaded = load(job.base, dtype=torch.float32, device=pick_device())
        if job.settings.lora is not None:
            adapt(loaded.model, job.settings.lora)
        job.train(loaded, on_step=lambda *_: None, dev_metric=_of_the_first if job.picks_on_dev else None)
    distributed.destroy_process_group()


def _sharding() -> bool:
    """Whether accelerate launch was told to use FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def _join() -> None:
    if _sharding() and not torch.cuda.is_available():
        raise ConfigError(
            "accelerate launch --use_fsdp: accelerate shards a model over GPUs only, and would go on unsharded here: "
            "leave it out."
        )
    if _sharding() and os.environ.get("FSDP_VERSION", "1") != "2":
        raise ConfigError(
            "accelerate launch --use_fsdp: FSDP of version 1 cannot be put together again here: add --fsdp_version 2."
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)


def _tell(job: Job | None) -> Job | None:
    """What the first process says, in all of them."""
    held: list[Any] = [job]
    distributed.broadcast_object_list(held, src=0, device=torch.device("cpu"))
    said: Job | None = held[0]
    return said


def _of_the_first(_model: Any) -> float:
    raise AssertionError("the first process alone measures on dev")
