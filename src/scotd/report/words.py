"""How the page names and spells things: targets, places on an axis, percentages, p."""

from scotd.report.data import Cell, Place, Value
from scotd.stats import Interval
from scotd.types import Target

TARGET_NAMES = {
    Target.SCOTD: "SCoTD",
    Target.GREEDY_COT: "Greedy-CoT",
    Target.LABEL_ONLY: "Label-Only",
    Target.UNDISTILLED: "Undistilled",
    Target.TEACHER: "Teacher",
}

DASH = "–"
AXES = {"chains_per_question": "N", "share": "share of the questions", "filter.name": "filter"}


def percent(fraction: float, digits: int = 1) -> str:
    """Return 0.717 as "71.7 %" with a space that does not break."""
    return f"{100 * fraction:.{digits}f}\u00a0%"


def bounds(interval: Interval | None, *, signed: bool = False) -> str:
    """Return bounds in percent as "28.6 to 52.6", of a difference as "+1.0 to +9.3"; a dash where there is none."""
    if interval is None:
        return DASH
    low, high = (f"{100 * bound:+.1f}" if signed else f"{100 * bound:.1f}" for bound in interval)
    return f"{low} to {high}".replace("-", "\u2212")


def questions(n: int) -> str:
    """Return "1 question", "60 questions"."""
    return f"{n:,} question" if n == 1 else f"{n:,} questions"


def called(student: str, target: Target) -> str:
    """Return the name of a student as a sentence uses it: the target's where the student is named after it."""
    name = TARGET_NAMES[target]
    plain = student.casefold().replace("_", "-").replace(" ", "-")
    return name if plain == target.value else f"{student} ({name})"


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


def axis_name(axis: str) -> str:
    """Name an axis of a sweep: "N" for chains_per_question, "learning rate" for training.learning_rate."""
    return AXES.get(axis, axis.rpartition(".")[2].replace("_", " "))


def spelt(value: Value) -> str:
    """Write a value of an axis: a number in at most six digits, of a model's path the last part."""
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value).rstrip("/").rpartition("/")[2]


def at(place: Place) -> str:
    """Return "N = 5, learning rate = 2e-05"; a value that is a word stands for itself, a share is a percentage."""
    return ", ".join(_at(axis, value) for axis, value in place)


def _at(axis: str, value: Value) -> str:
    if isinstance(value, str):
        return spelt(value)
    if axis == "share" and isinstance(value, int | float):
        return f"{100 * value:g}\u00a0% of questions"
    return f"{axis_name(axis)} = {spelt(value)}"


def row_name(cell: Cell) -> str:
    """Name a row of the experiment at its place: "scotd, N = 5"."""
    return f"{cell.row}, {at(cell.place)}" if cell.place else cell.row


def arm_name(cell: Cell) -> str:
    """Name an arm on a page of one run or several: "scotd, N = 5", "scotd, N = 5 (second-run)"."""
    return f"{row_name(cell)} ({cell.run})" if cell.run else row_name(cell)


def duration(seconds: float) -> str:
    """Return seconds as "4.2 s", "1 min 20 s", "2 h 05 min"."""
    if seconds < 59.95:
        return f"{seconds:.1f}\u00a0s" if seconds < 9.95 else f"{seconds:.0f}\u00a0s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}\u00a0h {minutes % 60:02d}\u00a0min"
