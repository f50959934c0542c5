"""The report's first paragraphs: what came out, in plain words, and what numbers of this size can and cannot show.

Every sentence is computed; none says more than the interval and the paired test beside it allow.
"""

from collections.abc import Sequence

from scotd.report.data import Cell, Comparison, Result, Row, SplitTable
from scotd.types import Target

TARGET_NAMES = {
    Target.SCOTD: "SCoTD",
    Target.GREEDY_COT: "Greedy-CoT",
    Target.LABEL_ONLY: "Label-Only",
    Target.UNDISTILLED: "Undistilled",
    Target.TEACHER: "Teacher",
}


def percent(fraction: float, digits: int = 1) -> str:
    """Return 0.717 as "71.7 %" with a space that does not break."""
    return f"{100 * fraction:.{digits}f}\u00a0%"


def questions(n: int) -> str:
    """Return "1 question", "60 questions"."""
    return f"{n:,} question" if n == 1 else f"{n:,} questions"


def called(student: str, target: Target) -> str:
    """Return the name of a student as a sentence uses it: the target's where the student is named after it."""
    name = TARGET_NAMES[target]
    plain = student.casefold().replace("_", "-").replace(" ", "-")
    return name if plain == target.value else f"{student} ({name})"


def verdict(tables: Sequence[SplitTable], baseline: str | None) -> tuple[str, ...]:
    """Return the sentences that say what came out, one for each evaluated split."""
    sentences: list[str] = []
    said: tuple[str, str] | None = None
    for table in tables:
        row = _leading(table, baseline)
        if row is None or row.result is None or row.result.interval is None:
            continue
        pair = (row.cell.student, "" if row.comparison is None else row.comparison.student)
        other = None if row.comparison is None else _baseline_row(table, row.comparison)
        sentences.append(_sentence(table, row, other, again=pair == said))
        said = pair
    if sentences:
        return tuple(sentences)
    if any(row.result is not None for table in tables for row in table.rows):
        return ("The answered questions have no gold labels, so there is no accuracy to report.",)
    return ("No student has been evaluated yet, so there is no result to report.",)


def _sentence(table: SplitTable, row: Row, other: Row | None, *, again: bool) -> str:
    """Say what came out on one split; `again` shortens a sentence about the students of the one before."""
    result, comparison = row.result, row.comparison
    assert result is not None
    name, accuracy = _name(row.cell, table), percent(result.correct / result.n)
    if comparison is None or other is None or other.result is None or not other.result.n:
        return (
            f"On {table.split}, {name} answers {accuracy} of {questions(result.n)} right "
            f"({_bounds(result)}){_against_chance(result, table)}."
        )
    its = percent(other.result.correct / other.result.n)
    if again:
        return f"On {table.split} it is {accuracy} against {its}; {_difference(comparison)}."
    return (
        f"On {table.split}, {name} answers {accuracy} of {questions(result.n)} right ({_bounds(result)}), "
        f"{_name(other.cell, table)} {its} ({_bounds(other.result)}); {_difference(comparison)}."
    )


def _leading(table: SplitTable, baseline: str | None) -> Row | None:
    """Return the row a verdict is about: SCoTD if there, else any student but the baseline, else the baseline."""
    rows = [row for row in table.rows if row.result is not None and row.result.n]
    for wanted in (
        [row for row in rows if row.cell.target is Target.SCOTD and row.cell.student != baseline],
        [row for row in rows if row.cell.student != baseline],
        rows,
    ):
        if wanted:
            return wanted[0]
    return None


def _baseline_row(table: SplitTable, comparison: Comparison) -> Row | None:
    wanted = (comparison.student, comparison.decoding)
    return next((row for row in table.rows if (row.cell.student, row.cell.decoding) == wanted), None)


def _name(cell: Cell, table: SplitTable) -> str:
    """Name the student, and the decoding where this student answered the split in several ways."""
    name = called(cell.student, cell.target)
    several = sum(row.cell.student == cell.student for row in table.rows) > 1
    return f"{name} ({cell.decoding})" if several else name


def _bounds(result: Result) -> str:
    assert result.interval is not None
    return f"{100 * result.interval.low:.1f} to {100 * result.interval.high:.1f}"


def _difference(comparison: Comparison) -> str:
    p = p_value(comparison.p)
    if comparison.only_this == comparison.only_baseline:
        return f"on {questions(comparison.pairs)} that both answered they are level ({p})"
    if comparison.needed is None or abs(comparison.only_this - comparison.only_baseline) < comparison.needed:
        return f"the difference could be chance ({p})"
    return f"a difference that chance alone would rarely make ({p})"


def p_value(p: float) -> str:
    """Return "p = 0.18", "p < 0.001" with spaces that do not break."""
    if p < 0.001:
        return "p\u00a0<\u00a00.001"
    return f"p\u00a0=\u00a0{p:.3f}" if p < 0.1 else f"p\u00a0=\u00a0{p:.2f}"


def p_number(p: float) -> str:
    """Return the same for a column headed p: "0.18", "< 0.001"."""
    return p_value(p).removeprefix("p\u00a0").removeprefix("=\u00a0")


def points(difference: float) -> str:
    """Return a difference of fractions as "+11.7 points", with a true minus sign."""
    return f"{100 * difference:+.1f} points".replace("-", "\u2212")


def _against_chance(result: Result, table: SplitTable) -> str:
    if table.chance is None or result.interval is None:
        return ""
    chance = percent(table.chance)
    if result.interval.low > table.chance:
        return f", clear of the {chance} that guessing gives"
    if result.interval.high < table.chance:
        return f", below the {chance} that guessing gives"
    return f", which the {chance} that guessing gives could also explain"


def limits(tables: Sequence[SplitTable], baseline: str | None, confidence: float) -> tuple[str, ...]:
    """Return the sentences that say what the numbers can and cannot show at their size."""
    rows = [(table, row) for table in tables if (row := _leading(table, baseline)) is not None]
    if not rows:
        return ()
    table, row = rows[0]
    assert row.result is not None and row.result.interval is not None
    half = 50 * (row.result.interval.high - row.result.interval.low)
    sentences = [
        f"With {questions(row.result.n)} an accuracy on {table.split} is known to about ± {half:.0f} points "
        f"({100 * confidence:g} % intervals)."
    ]
    comparison = row.comparison
    if comparison is not None:
        sentences.append(_decidable(comparison, row, table))
    sentences.extend(_chance_sentences(table))
    sentences.append(
        "The intervals and tests are about the choice of questions only: each student was trained once here, and "
        "another seed can move its accuracy by some points as well."
    )
    return tuple(sentences)


def _decidable(comparison: Comparison, row: Row, table: SplitTable) -> str:
    differing = comparison.only_this + comparison.only_baseline
    name = _name(row.cell, table)
    start = f"On {differing} of {questions(comparison.pairs)} only one of {name} and the baseline is right"
    if comparison.needed is None:
        return f"{start}: too few for any difference to be told from chance at this size."
    return (
        f"{start}; a lead would have to reach {questions(comparison.needed)} "
        f"({100 * comparison.needed / comparison.pairs:.0f} points of accuracy) to stand clear of chance, "
        "so true differences smaller than that can be neither seen nor ruled out here."
    )


def _chance_sentences(table: SplitTable) -> list[str]:
    """Name the students whose interval holds the accuracy of guessing: for these nothing is decided at this scale."""
    if table.chance is None:
        return []
    unclear = [
        _name(row.cell, table)
        for row in table.rows
        if row.result is not None
        and row.result.interval is not None
        and row.result.interval.low <= table.chance <= row.result.interval.high
    ]
    if not unclear:
        return []
    names = unclear[0] if len(unclear) == 1 else f"{', '.join(unclear[:-1])} and {unclear[-1]}"
    return [f"Not told from guessing ({percent(table.chance)}) on {table.split} at this scale: {names}."]
