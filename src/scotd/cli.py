"""The command line. Heavy libraries are imported inside commands, so that `scotd --help` answers at once.

Everything that the user can mend is shown as one line on stderr with exit code 2; Ctrl-C is 130.
"""

import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from scotd import __version__
from scotd.errors import ScotdError

Command = Callable[..., Any]


def main() -> None:
    """Entry point: errors of the user become one line."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        _stop("Stopped. What was finished is kept; the same command goes on from there.", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except KeyboardInterrupt:
        _stop("Stopped. What was finished is kept; the same command goes on from there.", 130)
    except ScotdError as error:
        _stop(f"Error: {error}", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)


def _say(message: str) -> None:
    click.echo(message, err=True)


def _needs_torch(command: Command) -> Command:
    """Turn a missing torch into the sentence that helps."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except ModuleNotFoundError as error:
            if error.name not in {"torch", "transformers", "accelerate", "safetensors", "gguf"}:
                raise
            raise ScotdError(
                f"{error.name} is not installed, and running a model here needs it: pip install 'scotd[local]'."
            ) from None

    return wrapped


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scotd")
def cli() -> None:
    """Symbolic Chain-of-Thought Distillation: ask a teacher for many chains of thought a question, train a small
    student on them, and measure what it gained.

    \b
    scotd init exp.yaml     write a commented experiment file for your own questions
    scotd preview exp.yaml  see prompts, target and loss mask before paying for anything
    scotd run exp.yaml      sample, select, train, evaluate, report; resumes where it stopped
    """


_EXPERIMENT = click.argument("experiment", type=click.Path(path_type=Path))
_SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting: training.epochs=3."
)
_LIMIT = click.option("--limit", type=click.IntRange(min=1), help="At most this many questions in every split.")


def _load(path: Path, overrides: tuple[str, ...], limit: int | None) -> Any:
    from scotd.config import load
    from scotd.tasks.limits import limited_everywhere

    experiment = load(path, overrides)
    return experiment if limit is None else limited_everywhere(experiment, limit)


@cli.command()
@_EXPERIMENT
@_SET
@_LIMIT
@click.option("--dry-run", is_flag=True, help="Say what would be asked, trained and answered, and stop.")
@click.option("--fresh", is_flag=True, help="Leave the experiment's import_chains aside: ask for every chain.")
@click.option(
    "--until",
    type=click.Choice(["sample", "select", "train", "evaluate", "report"]),
    default="report",
    show_default=True,
    help="Last stage to go through.",
)
@_needs_torch
def run(
    experiment: Path, overrides: tuple[str, ...], limit: int | None, dry_run: bool, fresh: bool, until: str
) -> None:
    """Go through all stages of an EXPERIMENT file; each is skipped when done and resumes when interrupted."""
    settings = _load(experiment, overrides, limit)
    from scotd.experiment import Plan, describe
    from scotd.experiment import run as run_experiment
    from scotd.experiment.run import accuracies

    if dry_run:
        click.echo("\n".join(describe(Plan.of(settings))))
        return
    _quiet_libraries()
    outcome = run_experiment(settings, until="evaluate" if until == "report" else until, fresh=fresh, say=_say)
    for line in accuracies(outcome.cells):
        click.echo(line)
    if until == "report":
        from scotd.report import write_report

        click.echo(f"Report: {write_report(outcome.folder)}")
    else:
        click.echo(f"Results: {outcome.folder}")


@cli.command()
@_EXPERIMENT
@_SET
@_LIMIT
@_needs_torch
def sample(experiment: Path, overrides: tuple[str, ...], limit: int | None) -> None:
    """Only ask the teacher for the chains that EXPERIMENT lacks (the same as run --until sample)."""
    settings = _load(experiment, overrides, limit)
    from scotd.experiment import run as run_experiment

    _quiet_libraries()
    run_experiment(settings, until="sample", say=_say)
    click.echo(f"Corpus: {settings.corpus}")


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def report(folders: tuple[Path, ...]) -> None:
    """Write the HTML report of finished or half-finished run FOLDERS."""
    from scotd.report import write_report

    for folder in folders:
        click.echo(f"Report: {write_report(folder)}")


def _quiet_libraries() -> None:
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


if __name__ == "__main__":
    main()
