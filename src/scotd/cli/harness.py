"""`scotd student export-task`: a student's questions for lm-evaluation-harness."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from scotd.cli.base import EXPERIMENT, SET, load, say
from scotd.cli.terminal import safe
from scotd.errors import ConfigError, did_you_mean
from scotd.types import Decoding, Target

if TYPE_CHECKING:
    from scotd.experiment import Plan


@click.command(short_help="Write a task for lm-evaluation-harness.")
@EXPERIMENT
@click.argument("name", metavar="STUDENT")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--split", help="A split of evaluation.splits; the first one unless you say so.")
@SET
def export_task(experiment: Path, name: str, out: Path, split: str | None, overrides: tuple[str, ...]) -> None:
    """Write the questions that the STUDENT of an EXPERIMENT answers greedily to the folder OUT, as a task of
    lm-evaluation-harness. Whoever has the student, scotd and lm_eval gets its accuracy from it."""
    from scotd.experiment import Plan
    from scotd.harness import write_task

    plan = Plan.of(load(experiment, overrides))
    students = plan.experiment.students
    if name not in students:
        raise ConfigError(f"{experiment} has no student '{name}'.{did_you_mean(name, students)}")
    if students[name].target is Target.TEACHER:
        raise ConfigError(f"'{name}' is the teacher itself, whose answers are in the corpus: name a student.")
    chosen = next(iter(plan.evaluated)) if split is None else split
    if chosen not in plan.evaluated:
        raise ConfigError(f"--split {chosen}: not in evaluation.splits.{did_you_mean(chosen, plan.evaluated)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out}: is there already, and not empty: name a new folder.")
    questions = plan.evaluated[chosen]
    task = "_".join(("scotd", plan.experiment.name, name, chosen))
    written = write_task(
        out,
        name=task,
        asked=((question, plan.prompt_for(name, question)) for question in questions),
        params=_greedy(plan, name, chosen).sampling,
    )
    click.echo(safe(f"{out}: {written} questions of {chosen}"))
    if written < len(questions):
        say(f"{len(questions) - written} questions without a label are left out")
    student = plan.folder / "students" / name if students[name].target.trained else "MODEL"
    say(f"lm_eval --model hf --model_args pretrained={student},dtype=float32 --tasks {task} --include_path {out}")


def _greedy(plan: "Plan", name: str, split: str) -> Decoding:
    """The student's greedy way of answering a split: an accuracy of sampled chains repeats nowhere else."""
    found = [one for one in plan.decodings(name, split).values() if one.sampling.temperature == 0]
    if not found:
        raise ConfigError(
            f"'{name}' does not answer {split} greedily: only a greedy accuracy can be checked elsewhere."
        )
    return found[0]
