"""The command line, one module a group of commands. Heavy libraries are imported inside commands, so that
`scotd --help` answers at once.

Everything that the user can mend is shown as one line on stderr with exit code 2; Ctrl-C is 130.

base.py      options and checks that commands share      terminal.py  what may reach a terminal
init.py      init      (guess.py, starter.py)            preview.py   preview   (mask.py)
run.py       run, sample, report, compare, pack          predict.py   predict
corpus.py    corpus stats, show, servers                 exchange.py  corpus import, export
checks.py    corpus merge, verify                        publish.py   corpus push, student push
harness.py   student export-task                         board.py     a run's cells on a terminal
judge.py     judge new, serve, ask, results              browse.py    browse
practice.py  practice-teacher
"""

import errno
import os
import sys

import click

from scotd import __version__
from scotd.cli.base import refuse_several
from scotd.cli.browse import browse
from scotd.cli.checks import merge, verify
from scotd.cli.corpus import servers, show, stats
from scotd.cli.exchange import export_chains, import_chains
from scotd.cli.harness import export_task
from scotd.cli.init import init
from scotd.cli.judge import JUDGE
from scotd.cli.practice import practice_teacher
from scotd.cli.predict import predict
from scotd.cli.preview import preview
from scotd.cli.publish import push_corpus, push_student
from scotd.cli.run import compare, pack, report, run, sample
from scotd.errors import ScotdError

STOPPED = "Stopped. What was finished is kept; the same command goes on from there."
# What a disk or its owner refuses; any other OSError is a defect of ours and keeps its traceback.
_REFUSALS = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}


class _InOrder(click.Group):
    """Lists commands in the order in which they are used, not by the alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scotd")
@click.pass_context
def cli(context: click.Context) -> None:
    """Symbolic Chain-of-Thought Distillation: ask a teacher for many chains of thought a question, train a small
    student on them, and measure what it gained.

    \b
    scotd init exp.yaml --data my.csv  write a commented experiment file for your own questions
    scotd preview exp.yaml             see prompts, targets and loss mask before paying for anything
    scotd run exp.yaml                 sample, select, train, evaluate, report; resumes where it stopped
    scotd predict runs/exp/students/scotd "..."   ask the student
    """
    refuse_several(context.invoked_subcommand)


@click.group(cls=_InOrder, short_help="Look into a corpus of chains; take chains in or out.")
def corpus() -> None:
    """Look into a corpus of chains, and take chains in or out."""


@click.group(cls=_InOrder, short_help="Publish a trained student; let others check its accuracy.")
def student() -> None:
    """Publish a trained student, and let others check its accuracy."""


@click.group(cls=_InOrder, short_help="Let people compare chains blindly.")
def judge() -> None:
    """Let people compare the chains of two sources without knowing which is which: make a study, serve it, read what
    came out."""


for _command in (
    init,
    preview,
    run,
    sample,
    report,
    compare,
    pack,
    predict,
    corpus,
    browse,
    judge,
    student,
    practice_teacher,
):
    cli.add_command(_command)
for _command in JUDGE:
    judge.add_command(_command)
for _command in (stats, show, servers, import_chains, export_chains, merge, verify, push_corpus):
    corpus.add_command(_command)
for _command in (push_student, export_task):
    student.add_command(_command)


def main() -> None:
    """Entry point: errors of the user become one line."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character is no error
    try:
        code = cli.main(prog_name="scotd", standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, KeyboardInterrupt):
        _stop(STOPPED, 130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except ScotdError as error:
        _stop(f"Error: {error}", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        _stop(f"Error: {where}{error.strerror}.", 2)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _stop(message: str, code: int) -> None:
    from scotd.clean import line

    click.echo(line(message), err=True)
    sys.exit(code)
