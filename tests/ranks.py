"""A training in a process of its own, for the tests: one rank of several, or one that is killed on the way.

    python ranks.py SPEC.pt            with RANK, WORLD_SIZE, MASTER_ADDR, ... as torchrun sets them

SPEC.pt holds a dict (see `main`); every rank writes its weights beside it. With "kill" the process ends itself by
SIGKILL: "save 2" in the middle of writing the second checkpoint, "rotate" while an old one is deleted.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from scotd.student import Loaded
from scotd.train import TreeTrainer, train


def main(path: Path) -> None:
    spec = torch.load(path, weights_only=False)
    with _killed(spec.get("kill")):
        result = train(
            Loaded(model=spec["model"], tokenizer=spec["tokenizer"], dropouts={}),
            spec["examples"],
            spec["config"],
            folder=spec["folder"],
            dtype=torch.float32,
            on_step=lambda *_: None,
            accumulation=spec["accumulation"],
        )
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.save({"weights": spec["model"].state_dict(), "result": result}, path.with_name(f"rank-{rank}.pt"))


def _killed(where: str | None) -> Any:
    saves = 0
    write, delete = TreeTrainer._save_optimizer_and_scheduler, shutil.rmtree

    def save(trainer: TreeTrainer, folder: str) -> None:
        nonlocal saves
        saves += 1
        if saves == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        write(trainer, folder)

    def rmtree(folder: Path, *args: object, **kwargs: object) -> None:
        (Path(folder) / "optimizer.pt").unlink()
        os.kill(os.getpid(), signal.SIGKILL)

    if where == "save 2":
        return patch.object(TreeTrainer, "_save_optimizer_and_scheduler", save)
    if where == "rotate":
        return patch.object(shutil, "rmtree", rmtree)
    assert where is None
    return patch.object(shutil, "rmtree", delete)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
