"""Bar charts of counts and seconds: the funnel of chains, the stages of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scotd.report.data import Funnel, Stage
from scotd.report.svg import BAR, GOOD, INK, MUTED, TARGET_COLOURS, WIDE, Plot, new_figure, plot, short, style
from scotd.report.words import percent

MANY = 24  # bars that can be read beside each other


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a bar chart: how long, and what stands beside it."""

    label: str
    value: float | None
    note: str
    colour: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Bars under a common heading."""

    title: str
    bars: tuple[Bar, ...]


def bar_plot(groups: Sequence[Group], name: str, label: str) -> Plot | None:
    """Draw groups of horizontal bars on one scale from 0; None where there is nothing to draw."""
    if not any(bar.value for group in groups for bar in group.bars):
        return None
    return plot(lambda width: _bars(groups, width), name, label)


def funnel_groups(funnel: Funnel) -> tuple[Group, ...]:
    """Return the funnel's bars: what became of the chains of each way of drawing, then what each student trained on."""
    groups = []
    for row in funnel.rows:
        steps = {"asked": row.asked, "received": row.received, "parsed": row.parsed, "correct": row.correct}
        bars = tuple(
            Bar(
                label=step,
                value=None if value is None else float(value),
                note=_share(value, row.asked if step == "received" else row.received if step != "asked" else None),
                colour=GOOD if step == "correct" else BAR,
            )
            for step, value in steps.items()
        )
        groups.append(Group(title=row.sampling, bars=bars))
    # The seeds of a row are trained on the same chains: a long list is in the table alone.
    shown = funnel.students if len(funnel.students) <= MANY else ()
    trained = tuple(
        Bar(
            label=student.student,
            value=None if student.trained is None else float(student.trained),
            note=_share(student.trained, None),
            colour=TARGET_COLOURS[student.target],
        )
        for student in shown
    )
    return (*groups, Group(title="trained on, by student", bars=trained)) if trained else tuple(groups)


def stage_groups(stages: Sequence[Stage], duration: Callable[[float], str]) -> tuple[Group, ...]:
    """Return one bar for each stage with its seconds, of many students one for all that went through a stage together.

    `duration` writes seconds as words.
    """
    done = [stage for stage in stages if not stage.skipped]
    sums: dict[str, list[float | None]] = {}
    for stage in done:
        name = stage.stage if len(done) > MANY else f"{stage.stage} {stage.name}".strip()
        sums.setdefault(name, []).append(stage.seconds)
    bars = []
    for name, seconds in sums.items():
        known = [one for one in seconds if one is not None]
        note = duration(sum(known)) if known else "not known"
        times = f" ({len(seconds)} times)" if len(seconds) > 1 else ""
        bars.append(Bar(label=name, value=sum(known) if known else None, note=note + times, colour=BAR))
    return (Group(title="", bars=tuple(bars)),) if bars else ()


def _share(value: int | None, whole: int | None) -> str:
    if value is None:
        return "not known"
    return f"{value:,} ({percent(value / whole, 0)})" if whole else f"{value:,}"


def _bars(groups: Sequence[Group], width: float) -> Any:
    places: list[tuple[float, Bar]] = []
    heads: list[tuple[float, str]] = []
    y = 0.0
    for group in groups:
        if group.title:
            heads.append((y, group.title))
            y += 0.95
        for bar in group.bars:
            places.append((y, bar))
            y += 1
        y += 0.35
    figure = new_figure(width, 14 + 17 * y)
    axes = figure.subplots()
    style(axes)
    axes.spines["bottom"].set_visible(False)
    top = max(bar.value or 0 for _, bar in places)
    for place, bar in places:
        axes.barh(place, bar.value or 0, height=0.66, color=bar.colour, linewidth=0)
        axes.annotate(
            bar.note, (bar.value or 0, place), (5, 0), textcoords="offset points", va="center", color=INK,
            fontsize=8.5, parse_math=False,
        )  # fmt: skip
    for place, title in heads:
        axes.annotate(
            short(title, WIDE), (0, place), (0, 0), textcoords="offset points", va="center", color=MUTED,
            fontsize=9, weight="bold", parse_math=False,
        )  # fmt: skip
    # Room at the right for the longest note, which stands outside its bar.
    axes.set_xlim(0, top * (1.22 if width == WIDE else 1.75))
    axes.set_ylim(y - 0.6, -0.7)
    axes.set_xticks([])
    axes.set_yticks([place for place, _ in places], [short(bar.label, width) for _, bar in places])
    for text in axes.get_yticklabels():
        text.set(color=INK, parse_math=False, fontsize=9)
    return figure
