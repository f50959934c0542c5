"""A language model as one more judge: any teacher, asked about every item in both orders.

    counts = ask(study, teacher, chat=True, max_tokens=96)

What it says stands in a table of its own. Only what it says in both orders is its opinion; the rest is counted as
changed with the order. It is no person, and results.py keeps it out of every number about people.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from scotd.answers import parse
from scotd.judge.store import Study
from scotd.judge.study import Item, ModelVote, Pick, Settings, Side
from scotd.progress import Tracker, silent
from scotd.teachers import Ask, Outcome, Teacher
from scotd.types import Choice, Completion, Message, Prompt, Question, SamplingParams, digest

WORDS = {Pick.FIRST: "1", Pick.SECOND: "2", Pick.TIE: "neither"}
_TEXTS = {Pick.FIRST: "chain 1", Pick.SECOND: "chain 2", Pick.TIE: "neither"}
SIDES: tuple[Side, Side] = ("a", "b")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What came of asking: votes stored now, votes that were there, and failures by kind."""

    received: int
    there: int
    failed: dict[str, int]


def ask(study: Study, teacher: Teacher, *, chat: bool, max_tokens: int, progress: Tracker = silent) -> Asked:
    """Ask for every vote that is missing, greedily; each is stored as it comes, so that a second call goes on.

    Raises TeacherError where the teacher is beyond use; what came before is stored.
    """
    there = {(vote.item, vote.first) for vote in study.model_votes() if vote.judge == teacher.name}
    missing = [(item, first) for item in study.items.values() for first in SIDES if (item.number, first) not in there]
    sampling = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    questions = {_key(item, first): (item, first) for item, first in missing}
    failed: Counter[str] = Counter()
    received = 0

    def asks() -> Iterator[Ask]:
        for key, (item, first) in questions.items():
            seed = int(digest([study.settings.seed, key])[:15], 16)
            shown = prompt(study.settings, item, first, chat=chat)
            yield Ask(question_key=key, prompt=shown, sampling=sampling, indices=(0,), seeds=(seed,))

    with progress(f"asking {teacher.name}", len(missing)) as bar:
        for outcome in teacher.complete(asks()) if missing else iter(()):
            if not outcome.completions:
                failed[_kind(outcome)] += 1
                continue
            item, first = questions[outcome.ask.question_key]
            study.put_model_votes([vote(study.settings, teacher.name, item, first, outcome.completions[0])])
            received += 1
            bar.advance(1, outcome.status)
    return Asked(received=received, there=len(there), failed=dict(failed))


def prompt(settings: Settings, item: Item, first: Side, *, chat: bool) -> Prompt:
    """What the judge is given: the question, the two chains in this order, and the study's own question."""
    pair = item.pair
    one, two = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
    asked = pair.question
    choices = ", ".join(
        choice.text if asked.has_label_set else f"({choice.label}) {choice.text}" for choice in asked.choices
    )
    options = [f"'So the answer is {WORDS[pick]}.'" for pick in _picks(settings)]
    text = (
        "Here are a question and two chains of thought that lead to an answer.\n\n"
        f"Question: {asked.stem}\nAnswer Choices: {choices}\n\nChain 1: {one}\n\nChain 2: {two}\n\n"
        f"{settings.ask} Compare them in one sentence, then end with {', '.join(options[:-1])} or {options[-1]}"
    )
    return Prompt(messages=(Message(role="user", content=text),)) if chat else Prompt(text=f"{text}\n\nAnswer:")


def vote(settings: Settings, judge: str, item: Item, first: Side, said: Completion) -> ModelVote:
    """Read what a judge said, by the rules by which chains are read: one clear answer, or why there is none."""
    question = Question(
        id=_key(item, first),
        task="judge",
        split="judge",
        stem=settings.ask,
        choices=tuple(Choice(label=WORDS[pick], text=_TEXTS[pick]) for pick in _picks(settings)),
        gold=None,
    )
    parsed = parse(said.text, question, said.finish)
    picks = {word: pick for pick, word in WORDS.items()}
    return ModelVote(
        judge=judge,
        item=item.number,
        first=first,
        pick=None if parsed.answer is None else picks[parsed.answer],
        reason=parsed.reason,
        text=said.text,
    )


def _picks(settings: Settings) -> list[Pick]:
    return [pick for pick in Pick if settings.ties or pick is not Pick.TIE]


def _key(item: Item, first: Side) -> str:
    return f"judge/{item.number}-{first}"


def _kind(outcome: Outcome) -> str:
    return "nothing came back" if outcome.error is None else outcome.error.partition(":")[0]
