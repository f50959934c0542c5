"""Questions from task files: the benchmarks by name, the shipped `feedback`, your own files, or a dataset of the hub.

    questions = load_questions(config.questions)
    for sentence in notes(questions):
        print(sentence)

One module per benchmark reads its official files; `files` reads anyone's own, `hub` a dataset of the Hugging Face hub;
`exemplars` the demonstrations.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from scotd.config import QuestionsConfig
from scotd.errors import ConfigError, did_you_mean
from scotd.tasks import anli, commonsenseqa, imdb, openbookqa, quarel, sst2
from scotd.tasks.content import normalised, repeats
from scotd.tasks.cut import shortened
from scotd.tasks.files import load_files
from scotd.tasks.hub import hub_note, load_hub
from scotd.tasks.limits import limited, require_splits
from scotd.types import Question

__all__ = ["BENCHMARKS", "TASKS", "hub_note", "load_questions", "notes", "require_splits"]

BENCHMARKS: Mapping[str, Callable[[Path], list[Question]]] = MappingProxyType(
    {
        anli.TASK: anli.load,
        commonsenseqa.TASK: commonsenseqa.load,
        imdb.TASK: imdb.load,
        openbookqa.TASK: openbookqa.load,
        quarel.TASK: quarel.load,
        sst2.TASK: sst2.load,
    }
)
TASKS = ("feedback", *BENCHMARKS)


def load_questions(config: QuestionsConfig) -> list[Question]:
    """Load all splits, in file order, with the limits applied and long stems cut.

    Raises ConfigError where the section does not say where the questions are, DataError for what is wrong in a file.
    """
    questions = _load(config)
    kept = limited(questions, config.limit)
    if config.max_stem_words is None:
        return kept
    keys = {question.key for question in kept}  # limits go by the ids of the full questions: a cut changes no choice
    cut = shortened(questions, config.max_stem_words)
    found = [short for full, short in zip(questions, cut, strict=True) if full.key in keys]
    if config.task == anli.TASK and any(map(anli.claim_is_cut, found)):
        raise ConfigError(
            f"questions.max_stem_words is {config.max_stem_words}, which leaves nothing of the text of some questions, "
            "whose claim stands in front of it: set it higher."
        )
    return found


def _load(config: QuestionsConfig) -> list[Question]:
    task = config.task
    source = "files" if config.files is not None else "hub" if config.hub is not None else None
    if source is not None:
        if task in TASKS:
            raise ConfigError(
                f"questions.task '{task}' is a built-in task: give the questions in `{source}` another name."
            )
        if config.path is not None:
            raise ConfigError(
                f"questions.path is for the official files of a benchmark: with `{source}`, leave it out."
            )
        _check_name(task)
        return load_files(config) if source == "files" else load_hub(config)
    if task == "feedback":
        from scotd.tasks import feedback  # composes its questions: only where they are wanted

        if config.path is not None:
            raise ConfigError("questions.path is not used by the task 'feedback', which is built in: leave it out.")
        return feedback.load()
    if task not in BENCHMARKS:
        near = did_you_mean(task, TASKS)
        raise ConfigError(
            f"questions.task '{task}' is not built in: give `files` or `hub`, and `columns`, or name a task.{near}"
        )
    if config.path is None:
        raise ConfigError(f"questions.path is missing: name the folder with the official files of '{task}'.")
    return BENCHMARKS[task](config.path)


def _check_name(task: str) -> None:
    """The task becomes part of keys and of file names (splits are checked with the configuration)."""
    if not task or not all(character.isalnum() or character in "_-." for character in task):
        raise ConfigError(f"the task name '{task}' is used in file names: write it with letters, digits, _ and -.")


def notes(questions: Sequence[Question]) -> tuple[str, ...]:
    """Return a sentence for everything about the questions that a reader of results should know.

    Repeats within and between splits, choices that repeat each other, unlabelled questions, cut stems. Your own files
    are refused where splits share a question; official files and the hub's are kept as they are, and counted here.
    """
    found = []
    between: dict[tuple[str, str], list[str]] = {}
    for repeat in repeats(questions):
        pair = (repeat.first.split, repeat.second.split)
        between.setdefault(pair, []).append(repeat.second.stem)
    for (first, second), stems in between.items():
        shown = ", ".join(f"'{stem[:60]}'" for stem in stems[:3]) + (", ..." if len(stems) > 3 else "")
        one = len(stems) == 1
        repeated = f"repeat{'s' * one} an earlier one there"
        there = repeated if first == second else f"{'is' if one else 'are'} in '{first}' too"
        found.append(f"{len(stems)} of the questions in '{second}' {there}: {shown}.")
    for split in dict.fromkeys(question.split for question in questions):
        members = [question for question in questions if question.split == split]
        same = sum(len({normalised(choice.text) for choice in q.choices}) < len(q.choices) for q in members)
        unlabelled = sum(question.gold is None for question in members)
        if same:
            offers = "offers" if same == 1 else "offer"
            found.append(f"{same} of {len(members)} questions in '{split}' {offers} the same text as two choices.")
        if unlabelled:
            has = "has" if unlabelled == 1 else "have"
            found.append(f"{unlabelled} of {len(members)} questions in '{split}' {has} no label.")
        cut = [question.cut_words for question in members if question.cut_words]
        if cut:
            are, their = ("is", "its") if len(cut) == 1 else ("are", "their")
            found.append(
                f"{len(cut)} of {len(members)} questions in '{split}' {are} cut (questions.max_stem_words): "
                f"{sum(cut)} of {their} words are left out."
            )
    return tuple(found)
