"""What the browser shows, opened: one corpus, the runs that were made with it, and a study of their chains."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scotd.corpus.columns import Columns, read_columns
from scotd.errors import ConfigError, RunError
from scotd.judge.store import Study
from scotd.progress import Tracker, silent
from scotd.report.data import Cell
from scotd.report.load import Run, corpus_of, load
from scotd.report.read import RunFolder


@dataclass(frozen=True, kw_only=True)
class Library:
    """`taken` is when the corpus was read: what came into it later is not shown. Cells are numbered over all runs."""

    columns: Columns
    folders: tuple[Path, ...]
    runs: tuple[Run, ...]
    study: Study | None
    taken: datetime

    @property
    def cells(self) -> tuple[tuple[Run, Cell], ...]:
        """All answered cells; their places are their numbers in addresses."""
        return tuple((run, cell) for run in self.runs for cell in run.predictions)

    def close(self) -> None:
        self.columns.close()
        if self.study is not None:
            self.study.close()


def open_library(paths: Sequence[Path], study: Path | None = None, progress: Tracker = silent) -> Library:
    """Open run folders and at most one corpus file. Raises a ScotdError where they do not go together."""
    folders = tuple(path for path in paths if path.is_dir())
    corpora = {path.resolve(): path for path in paths if not path.is_dir()}
    for folder in folders:
        experiment, _ = RunFolder(folder).experiment()
        path = corpus_of(folder, experiment)
        if path is None and not corpora:
            raise RunError(
                f"{folder}: its corpus {experiment.corpus} is not there. Name it too: browse {folder} CORPUS."
            )
        if path is not None:
            corpora.setdefault(path.resolve(), path)
    if len(corpora) > 1:
        raise ConfigError(f"one corpus at a time can be browsed, found {', '.join(map(str, corpora.values()))}.")
    (corpus,) = corpora.values()
    several = len(folders) > 1
    runs = tuple(load(folder, folder.name if several else "") for folder in folders)
    opened = None if study is None else Study.open(study)
    try:
        columns = read_columns(corpus, progress)
    except BaseException:
        with suppress(Exception):
            if opened is not None:
                opened.close()
        raise
    return Library(columns=columns, folders=folders, runs=runs, study=opened, taken=datetime.now().astimezone())
