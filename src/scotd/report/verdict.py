"""The report's first paragraphs: what came out, in plain words, and what numbers of this size can and cannot show.

Every sentence is computed; none says more than the interval and the test beside it allow.
"""

from collections.abc import Sequence

from scotd.report.data import Against, Arm, Comparison, SplitTable
from scotd.report.words import at, bounds, called, p_value, percent, questions
from scotd.stats import detectable_difference
from scotd.types import Target

POWER = 0.8
MANY_NAMES = 4  # more are counted


def verdict(tables: Sequence[SplitTable], confidence: float) -> tuple[str, ...]:
    """Return the sentences that say what came out, one for each evaluated split of each run."""
    sentences: list[str] = []
    said: tuple[object, ...] | None = None
    for table in tables:
        for arm in _leading(table):
            other = _other(table, arm.against)
            pair = (arm.cell.arm[:3], None if other is None else other.cell.arm[:3])
            sentences.append(_sentence(table, arm, other, confidence, again=pair == said and len(arm.rows) == 1))
            said = pair
    if sentences:
        return tuple(sentences)
    if any(row.result is not None for table in tables for row in table.rows):
        return ("The answered questions have no gold labels, so there is no accuracy to report.",)
    return ("No student has been evaluated yet, so there is no result to report.",)


def _leading(table: SplitTable) -> list[Arm]:
    """Return the arm that a verdict is about, of each run: SCoTD if there, else any but the baseline, else that.

    Of a sweep it is the place with the largest numbers, whatever came out there.
    """
    found = []
    for run in dict.fromkeys(arm.cell.run for arm in table.arms):
        arms = [arm for arm in table.arms if arm.cell.run == run and arm.mean is not None]
        for wanted in (
            [arm for arm in arms if arm.cell.target is Target.SCOTD and not arm.cell.baseline],
            [arm for arm in arms if not arm.cell.baseline],
            arms,
        ):
            if wanted:
                row = [arm for arm in wanted if arm.cell.row == wanted[0].cell.row]
                found.append(max(row, key=_size))
                break
    return found


def _size(arm: Arm) -> tuple[float, ...]:
    return tuple(float(value) for _, value in arm.cell.place if isinstance(value, int | float))


def _other(table: SplitTable, against: Against | None) -> Arm | None:
    if against is None:
        return None
    return next((arm for arm in table.arms if arm.cell.arm == against.other.arm and arm.mean is not None), None)


def _sentence(table: SplitTable, arm: Arm, other: Arm | None, confidence: float, *, again: bool) -> str:
    """Say what came out on one split; `again` shortens a sentence about the students of the one before."""
    assert arm.mean is not None
    where = f"On {table.split} ({arm.cell.run})" if arm.cell.run else f"On {table.split}"
    name, accuracy = _name(arm, table), percent(arm.mean)
    start = f"{where}, {name} answers {accuracy} of {questions(arm.n)} right ({_bounds(arm)})"
    if arm.against is None or other is None or other.mean is None:
        return f"{start}{_against_chance(arm, table)}."
    difference = _difference(arm, arm.against, confidence)
    if again:
        return f"{where} it is {accuracy} against {percent(other.mean)}; {difference}."
    return f"{start}, {_name(other, table)} {percent(other.mean)} ({_bounds(other)}); {difference}."


def _name(arm: Arm, table: SplitTable) -> str:
    """Name the student, its place in a sweep, and the decoding where it answered the split in several ways."""
    name = called(arm.cell.row, arm.cell.target)
    if arm.cell.place:
        name = f"{name} at {at(arm.cell.place)}"
    several = sum(other.cell.arm[:3] == arm.cell.arm[:3] for other in table.arms) > 1
    return f"{name} ({arm.cell.decoding})" if several else name


def _bounds(arm: Arm) -> str:
    assert arm.interval is not None
    found = bounds(arm.interval)
    return found if len(arm.results) == 1 else f"mean of {len(arm.results)} seeds, {found}"


def mcnemar(arm: Arm) -> Comparison | None:
    """McNemar's test of an arm of one student against one other; where seeds take part None: the bootstrap speaks."""
    return arm.rows[0].comparison if len(arm.rows) == 1 else None


def _difference(arm: Arm, against: Against, confidence: float) -> str:
    exact = mcnemar(arm)
    p = p_value(against.difference.p if exact is None else exact.p)
    if against.difference.mean == 0:
        return f"on {questions(against.pairs)} that both answered they are level ({p})"
    clear = (against.difference.p if exact is None else exact.p) < 1 - confidence
    if not clear:
        return f"the difference could be chance ({p})"
    return f"a difference that chance alone would rarely make ({p})"


def _against_chance(arm: Arm, table: SplitTable) -> str:
    if table.chance is None or arm.interval is None:
        return ""
    chance = percent(table.chance)
    if arm.interval.low > table.chance:
        return f", clear of the {chance} that guessing gives"
    if arm.interval.high < table.chance:
        return f", below the {chance} that guessing gives"
    return f", which the {chance} that guessing gives could also explain"


def limits(tables: Sequence[SplitTable], confidence: float) -> tuple[str, ...]:
    """Return the sentences that say what the numbers can and cannot show at their size."""
    found = next(((table, arms[0]) for table in tables if (arms := _leading(table))), None)
    if found is None:
        return ()
    table, arm = found
    assert arm.interval is not None
    half = 50 * (arm.interval.high - arm.interval.low)
    seeds = f" and {len(arm.results)} seeds" if len(arm.results) > 1 else ""
    sentences = [
        f"With {questions(arm.n)}{seeds} an accuracy on {table.split} is known to about ± {half:.0f} points "
        f"({100 * confidence:g} % intervals)."
    ]
    exact = mcnemar(arm)
    if exact is not None:
        sentences.append(_decidable(exact, arm, table))
        sentences.extend(_power(exact, confidence))
    sentences.extend(_chance_sentences(table))
    sentences.append(_about_seeds(tables))
    return tuple(sentences)


def _decidable(comparison: Comparison, arm: Arm, table: SplitTable) -> str:
    differing = comparison.only_this + comparison.only_baseline
    start = f"On {differing} of {questions(comparison.pairs)} only one of {_name(arm, table)} and the baseline is right"
    if comparison.needed is None:
        return f"{start}: too few for any difference to be told from chance at this size."
    return (
        f"{start}; a lead would have to reach {questions(comparison.needed)} "
        f"({100 * comparison.needed / comparison.pairs:.0f} points of accuracy) to stand clear of chance."
    )


def _power(comparison: Comparison, confidence: float) -> list[str]:
    """Say how large a true difference must be to be found reliably, where some size would do."""
    differing = (comparison.only_this + comparison.only_baseline) / comparison.pairs
    found = detectable_difference(comparison.pairs, differing, POWER, confidence) if differing else None
    if found is None:
        return []
    return [
        f"With as many differing questions a true difference of {100 * found:.0f} points would be found in "
        f"{100 * POWER:.0f} of 100 such experiments; smaller ones are missed more often and cannot be ruled out here."
    ]


def _about_seeds(tables: Sequence[SplitTable]) -> str:
    trained = [len(arm.results) for table in tables for arm in table.arms if arm.cell.target.trained and arm.results]
    most = max(trained, default=1)
    if most == 1:
        return (
            "The intervals and tests are about the choice of questions only: each student was trained once here, and "
            "another seed can move its accuracy by some points as well."
        )
    sentence = (
        f"Over several seeds intervals and p resample questions and seeds together; {most} seeds show what another "
        "seed would change only roughly, and rather too little of it."
    )
    if min(trained) == 1:
        sentence += " Rows of one seed say nothing about other seeds."
    return sentence


def _chance_sentences(table: SplitTable) -> list[str]:
    """Name the arms whose interval holds the accuracy of guessing: for these nothing is decided at this scale."""
    if table.chance is None:
        return []
    unclear = [
        _name(arm, table) + (f" ({arm.cell.run})" if arm.cell.run else "")
        for arm in table.arms
        if arm.interval is not None and arm.interval.low <= table.chance <= arm.interval.high
    ]
    if not unclear:
        return []
    if len(unclear) > MANY_NAMES:
        names = f"{len(unclear)} of {sum(arm.interval is not None for arm in table.arms)} rows of the table"
    else:
        names = unclear[0] if len(unclear) == 1 else f"{', '.join(unclear[:-1])} and {unclear[-1]}"
    return [f"Not told from guessing ({percent(table.chance)}) on {table.split} at this scale: {names}."]
