"""Results -> results.html, one file without script that can be sent around, and results.json.

No name of a rater is in either: raters are numbered in the order in which they came.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

from scotd.clean import cleaned, line
from scotd.judge.results import Group, Results
from scotd.judge.study import Settings
from scotd.report.svg import INK, MUTED, RULE, WIDE, Plot, new_figure, plot, short, style
from scotd.report.words import bounds, p_value, percent
from scotd.report.written import write_text
from scotd.stats import Interval
from scotd.web.pages import Pages, style_sheet

DECIMALS = 6


def write(results: Results, folder: Path) -> Path:
    """Write both files into a folder; return the page's path."""
    page = folder / "results.html"
    for path, text in ((folder / "results.json", as_json(results)), (page, html(results))):
        write_text(path, text)
    return page


def as_json(results: Results) -> str:
    """Everything on the page, as numbers."""
    return json.dumps(cleaned(_plain(asdict(results))), indent=2, ensure_ascii=False) + "\n"


def html(results: Results) -> str:
    """The whole page."""
    return Pages("scotd.judge", {"bounds": bounds, "source": source}).html(
        "results.html.j2",
        results=results,
        settings=results.settings,
        names=names(results.settings),
        verdict=verdict(results),
        drawing=win_plot(results),
        css=Markup(style_sheet()),
    )


def source(named: str) -> str:
    """A source as a page names it: of a path the last part."""
    return (
        named.rpartition("/")[2]
        if "@" not in named
        else named.partition("@")[0].rpartition("/")[2] + "@" + (named.partition("@")[2])
    )


def names(settings: Settings) -> Mapping[str, str]:
    """What the two sides are called; the whole source where the short names would be the same."""
    a, b = source(settings.a), source(settings.b)
    return {"a": a, "b": b} if a != b else {"a": settings.a, "b": settings.b}


def verdict(results: Results) -> tuple[str, ...]:
    """What came out, a sentence for each sample."""
    called = names(results.settings)
    if not results.votes:
        return ("Nobody has judged yet.",)
    return tuple(_sentence(group, called) for group in results.groups if group.task is None and group.by_item.n)


def _sentence(group: Group, called: Mapping[str, str]) -> str:
    tally = group.by_item
    pool = "questions that both got right" if group.sample == "both right" else "randomly drawn questions"
    judged = f"Of {group.items} {pool}, {tally.n} were judged"
    if tally.rate is None or tally.interval is None or tally.p is None:
        return f"{judged}, all of them ties."
    won = (
        f"{judged}: {called['a']} was preferred on {tally.a}, {called['b']} on {tally.b}, with {tally.ties} ties "
        f"({percent(tally.rate)} of the decided for {called['a']}, {bounds(tally.interval)}; {p_value(tally.p)})"
    )
    if tally.needed is not None and abs(tally.a - tally.b) >= tally.needed:
        return f"{won}: people prefer {called['a' if tally.a > tally.b else 'b']}."
    return f"{won}: no difference is shown, which does not show that they are equally good."


def win_plot(results: Results) -> Plot | None:
    """Win rates of a by sample and task, with intervals; None before any vote."""
    shown = [group for group in results.groups if group.by_item.rate is not None]
    if not shown:
        return None
    called = names(results.settings)

    def draw(width: float) -> Any:
        figure = new_figure(width, 62 + 30 * len(shown))
        axes = figure.add_subplot()
        style(axes)
        for place, group in enumerate(shown):
            tally = group.by_item
            assert tally.rate is not None and tally.interval is not None
            axes.plot([100 * tally.interval.low, 100 * tally.interval.high], [place, place], color=MUTED, lw=2)
            axes.plot([100 * tally.rate], [place], "o", color=INK, ms=6)
        axes.axvline(50, color=RULE, lw=1)
        axes.set_yticks(
            range(len(shown)), [short(group.sample.value, width, group.task or "") for group in shown], color=INK
        )
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 100)
        text = f"% of the decided for {called['a']}" if width == WIDE else "% for a"
        axes.set_xlabel(line(text), color=MUTED)
        return figure

    return plot(draw, "wins", f"How often {line(called['a'])} was preferred. The table below holds the same numbers.")


def _plain(value: Any) -> Any:
    if isinstance(value, Interval):
        return {"low": round(value.low, DECIMALS), "high": round(value.high, DECIMALS)}
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
