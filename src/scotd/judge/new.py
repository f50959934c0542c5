"""Two sources -> a study's file."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scotd import __version__
from scotd.errors import DataError
from scotd.judge.draw import draw
from scotd.judge.measures import needed_items
from scotd.judge.sources import pair, rationale, read
from scotd.judge.store import Study
from scotd.judge.study import ASK, Plan, Sample, Settings


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a study is to be. `items` None: as many as the test needs to find a win rate of `detect`."""

    a: str
    b: str
    split: str = "test"
    samples: tuple[Sample, ...] = (Sample.RANDOM, Sample.BOTH_RIGHT)
    items: int | None = None
    detect: float = 0.65
    power: float = 0.8
    confidence: float = 0.95
    expected_ties: float = 0.2
    seed: int = 0
    ask: str = ASK
    rubric: tuple[str, ...] = ()
    ties: bool = True
    answers_shown: bool = True
    repeats: float = 0.0


def new_study(path: Path, wanted: Wanted) -> Study:
    """Make the file and return it open. Raises a ScotdError for what the user can mend."""
    if path.exists():
        raise DataError(f"{path} exists. A study is never written over: name another file, or remove it yourself.")
    ties = wanted.expected_ties if wanted.ties else 0.0
    needed = wanted.items or needed_items(wanted.detect, power=wanted.power, confidence=wanted.confidence, ties=ties)
    a, b = (read(named, wanted.split, wanted.seed) for named in (wanted.a, wanted.b))
    pairs, left_out = pair(a, b) if wanted.answers_shown else pair(a, b, rationale)
    drawn = draw(pairs, wanted.samples, needed, seed=wanted.seed)
    if not drawn.items:
        raise DataError(
            f"{wanted.a} and {wanted.b}: no question of '{wanted.split}' gives a pair "
            f"({_reasons(left_out) or 'none was answered rightly by both'})."
        )
    settings = Settings(
        a=wanted.a,
        b=wanted.b,
        split=wanted.split,
        seed=wanted.seed,
        ask=wanted.ask,
        rubric=wanted.rubric,
        ties=wanted.ties,
        answers_shown=wanted.answers_shown,
        repeats=wanted.repeats,
        plan=Plan(
            items=needed,
            detect=None if wanted.items else wanted.detect,
            power=wanted.power,
            confidence=wanted.confidence,
            ties=ties,
        ),
        pools=drawn.pools,
        left_out=left_out,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        scotd=__version__,
    )
    return Study.make(path, settings, drawn.items)


def described(study: Study) -> list[str]:
    """A new study in a few lines for the terminal."""
    settings, plan = study.settings, study.settings.plan
    lines = [f"a: {settings.a}", f"b: {settings.b}"]
    if plan.detect is None:
        lines.append(f"{plan.items} items a sample, as told")
    else:
        lines.append(
            f"{plan.items} items a sample find a win rate of {plan.detect:g} with power {plan.power:g} "
            f"(exact test, confidence {plan.confidence:g}, {plan.ties:.0%} ties expected)"
        )
    for sample, pool in settings.pools.items():
        drawn = [item for item in study.items.values() if Sample(sample) in item.samples]
        short = f", fewer than the {plan.items} wanted" if len(drawn) < plan.items else ""
        tasks = ", ".join(
            f"{task} {sum(item.pair.question.task == task for item in drawn)} of {size}" for task, size in pool.items()
        )
        lines.append(f"sample '{sample}': {len(drawn)} items{short} ({tasks or 'none'})")
    if settings.left_out:
        lines.append(f"questions left out: {_reasons(settings.left_out)}")
    lines.append(f"each rater judges {len(study.items)} items" + _again(study))
    return lines


def _again(study: Study) -> str:
    repeated = round(study.settings.repeats * len(study.items))
    return f", {repeated} of them twice" if repeated else ""


def _reasons(left_out: dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in left_out.items())
