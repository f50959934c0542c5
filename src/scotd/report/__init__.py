"""Run folders as one page that can be read, sent and printed: `report.html`, with its tables in two plain forms.

path = write_report(Path("runs/quickstart"))
path = write_report(Path("runs/first"), Path("runs/second"), out=Path("runs/both"))

read.py       a folder's files, half done or not
pack.py       a run folder in one small file
load.py       run folder -> its cells, answers and parts of the page
tables.py     every cell, and every arm over its seeds
votes.py      accuracy with fewer votes
contrast.py   consistency on contrast sets
between.py    runs beside each other
published.py  published numbers beside ours
examples.py   which questions are shown; answers.py all of a cell's
verdict.py    what came out and what it can show, in sentences
collect.py    run folders -> Report
svg.py        inline SVG; plots.py accuracy, curves.py lines, bars.py counts
render.py     Report -> HTML; everything escaped
markdown.py   Report -> Markdown
summary.py    Report -> JSON
written.py    files that a reader finds whole
data.py       the values that pass between them; words.py how they are spelt
"""

from pathlib import Path

from scotd.errors import RunError

__all__ = ["write_report"]


def write_report(*folders: Path, out: Path | None = None, baseline: str | None = None) -> Path:
    """Write report.html, results.md, summary.json and a page of answers for each cell; return the report's path.

    They go into the folder `out`: where it is not given into the run folder itself (for a packed run NAME.zip into
    NAME-report beside it), or, for several, into a folder `report` beside the first. The same folders give the same
    bytes. What a stopped run has not reached is shown as not yet there. `baseline` is the row of students that others
    are tested against, instead of the configured one: such a report is another one, in `against-ROW` or
    `report-against-ROW`. Raises RunError where one is no run folder or has no such row, or the files cannot be
    written, or would stand in another run's folder.
    """
    # Here, not above: `scotd --help` imports this package's name and must not wait for Jinja2 and matplotlib.
    from scotd.report.answers import FOLDER, answer_pages
    from scotd.report.collect import collect
    from scotd.report.markdown import markdown
    from scotd.report.render import answers_html, html
    from scotd.report.summary import summary
    from scotd.report.written import write_text

    if out is None:
        out = _place(folders, baseline)
    if (out / "experiment.json").exists() and [out.resolve()] != [folder.resolve() for folder in folders]:
        raise RunError(f"{out} is a run folder, whose own report would be written over: give another one with --out.")
    report = collect(*folders, baseline=baseline)
    pages = set()
    for answers in (page for run in report.sources for page in answer_pages(run)):
        pages.add(out / answers.file)
        write_text(out / answers.file, answers_html(answers))
    for stale in {*(out / FOLDER).glob("*.html")} - pages:
        stale.unlink()
    page = out / "report.html"
    write_text(out / "results.md", markdown(report))
    write_text(out / "summary.json", summary(report))
    write_text(page, html(report))
    return page


def _place(folders: tuple[Path, ...], baseline: str | None) -> Path:
    against = [] if baseline is None else [f"against-{baseline}"]
    if len(folders) == 1:
        first = folders[0]
        return (first.with_name(f"{first.stem}-report") if first.is_file() else first).joinpath(*against)
    return folders[0].resolve().parent / "-".join(["report", *against])
