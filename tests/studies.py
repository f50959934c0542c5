"""Studies for the tests of `judge`, made without runs: every text is made up here."""

from pathlib import Path

from scotd.judge.store import Study
from scotd.judge.study import ASK, Item, Pair, Pick, Plan, Presentation, Rater, Sample, Settings, Side
from scotd.types import Choice, Question

LETTERS = (Choice(label="A", text="bank"), Choice(label="B", text="library"))
A, B = "runs/mine:scotd", "runs/mine:undistilled"
PLAN = Plan(items=20, detect=None, power=0.8, confidence=0.95, ties=0.2)


def question(number: int, task: str = "books") -> Question:
    return Question(
        id=f"q{number:03}", task=task, split="test", stem=f"Where is book {number}?", choices=LETTERS, gold="B"
    )


def pair(number: int, *, task: str = "books", right: tuple[bool, bool] = (True, True)) -> Pair:
    return Pair(
        question=question(number, task),
        a=f"Alpha thought {number}. So the answer is (B).",
        b=f"Beta thought {number}. So the answer is (B).",
        right_a=right[0],
        right_b=right[1],
    )


def item(number: int, shown: Pair | None = None, samples: tuple[Sample, ...] = (Sample.RANDOM,)) -> Item:
    return Item(number=number, pair=shown or pair(number), samples=samples)


def settings(**changes: object) -> Settings:
    given = {
        "a": A,
        "b": B,
        "split": "test",
        "seed": 0,
        "ask": ASK,
        "rubric": (),
        "ties": True,
        "answers_shown": True,
        "repeats": 0.0,
        "plan": PLAN,
        "pools": {"random": {"books": 40}},
        "left_out": {},
        "made": "2025-01-01T10:00:00+00:00",
        "scotd": "0.1.0",
        **changes,
    }
    return Settings(**given)  # type: ignore[arg-type]


def make_study(path: Path, n: int = 20, items: list[Item] | None = None, **changes: object) -> Study:
    return Study.make(path, settings(**changes), items or [item(number) for number in range(1, n + 1)])


def pick_of(shown: Presentation, side: Side | None) -> Pick:
    """The pick that prefers a side."""
    if side is None:
        return Pick.TIE
    return Pick.FIRST if shown.first == side else Pick.SECOND


def judge_all(study: Study, name: str, sides: dict[int, Side | None]) -> Rater:
    """Let a rater vote on every item of `sides`, repeats alike."""
    rater = study.enrol(name)
    for place, shown in enumerate(study.list_of(rater), start=1):
        if shown.item in sides:
            pick = pick_of(shown, sides[shown.item])
            study.cast(rater, place, seen=study.revision(rater, place), pick=pick)
    return rater
