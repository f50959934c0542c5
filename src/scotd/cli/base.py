"""What commands share: options, loading an experiment file, and the sentence about a missing library."""

import os
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scotd.errors import ConfigError, ScotdError

if TYPE_CHECKING:  # pydantic and YAML: commands import them when they run
    from scotd.config import Experiment

Command = Callable[..., Any]

LOCAL = {"torch", "transformers", "tokenizers", "accelerate", "safetensors", "gguf"}
WEB = {"fastapi", "starlette", "uvicorn"}
PLACEHOLDER = "REPLACE ME"  # in the exemplars that `scotd init` writes

EXPERIMENT = click.argument("experiment", type=click.Path(path_type=Path))
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: training.epochs=3."
)
LIMIT = click.option("--limit", type=click.IntRange(min=1), help="At most this many questions in every split.")
SCALE = click.option("--scale", metavar="NAME", help="One of the file's scales, for instance small.")


def load(path: Path, overrides: tuple[str, ...], limit: int | None = None, scale: str | None = None) -> "Experiment":
    """Read an experiment file with `--scale`, `--set` and `--limit` on top."""
    from scotd.config import load as load_file
    from scotd.tasks.limits import limited_everywhere

    experiment = load_file(path, overrides, scale)
    return experiment if limit is None else limited_everywhere(experiment, limit)


def refuse_placeholders(experiment: "Experiment") -> None:
    """Raise ConfigError where the exemplars are still those that `scotd init` wrote: chains cost time or money."""
    from scotd.tasks.exemplars import load_exemplars

    named = experiment.prompt.exemplars
    if named is None or experiment.teacher.kind == "imported":
        return
    for number, exemplar in enumerate(load_exemplars(named), 1):
        if PLACEHOLDER in exemplar.rationale or PLACEHOLDER in exemplar.question.stem:
            raise ConfigError(
                f"{named}, item {number}: still holds '{PLACEHOLDER}', as `scotd init` wrote it: put 5 to 10 worked "
                "examples of your own there, the teacher imitates them."
            )


def processes() -> tuple[int, int]:
    """This process's rank and the number of processes, as torchrun and accelerate launch tell it; (0, 1) alone."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def refuse_several(command: str | None) -> None:
    """Raise ConfigError where several processes were started for a command that knows only one."""
    _, count = processes()
    if count > 1 and command != "run":
        raise ConfigError(
            f"scotd {command}: started {count} times over by torchrun or accelerate launch, and only `scotd run` works "
            "with several processes: start it without them."
        )


def needs_torch(command: Command) -> Command:
    """Turn a missing torch into the sentence that helps."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as error:
            if error.name not in LOCAL:
                raise
            raise _missing(error.name) from None

    return wrapped


def needs_web(command: Command) -> Command:
    """Turn a missing web library into the sentence that helps."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as error:
            if error.name not in WEB:
                raise
            raise ScotdError(
                f"{error.name} is not installed, and serving pages needs it: pip install 'scotd[web]'."
            ) from None

    return wrapped


def require_local() -> None:
    """Raise ScotdError where torch or transformers is missing, without importing them."""
    missing = missing_local()
    if missing is not None:
        raise _missing(missing)


def missing_local() -> str | None:
    """Name of the library that is missing for running a model here, or None."""
    for name in ("torch", "transformers"):
        try:
            if find_spec(name) is None:
                return name
        except ModuleNotFoundError:
            return name
    return None


def _missing(name: str | None) -> ScotdError:
    return ScotdError(f"{name} is not installed, and running a model here needs it: pip install 'scotd[local]'.")


def quiet_libraries() -> None:
    """Progress bars and advice of the libraries would bury our own lines; their errors still come through."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from scotd.device import keep_memory
    except ModuleNotFoundError:
        return  # no torch: nothing to quieten
    keep_memory()
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def say(message: str) -> None:
    """A line for the person at the terminal, beside the results on stdout."""
    from scotd.cli.terminal import safe

    click.echo(safe(message), err=True)
