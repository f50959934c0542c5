"""`scotd browse`: a corpus, selections and predictions in the browser."""

from pathlib import Path

import click

from scotd.cli.base import needs_web, say
from scotd.errors import ConfigError

PORT = 8701


@click.command(short_help="Look at chains, selections and answers in a browser.")
@click.argument("paths", nargs=-1, required=True, metavar="RUN_OR_CORPUS...", type=click.Path(path_type=Path))
@click.option("--study", type=click.Path(path_type=Path), help="Show people's votes of this study beside the chains.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@needs_web
def browse(paths: tuple[Path, ...], study: Path | None, port: int) -> None:
    """Browse a corpus, with the run folders that were made with it, on this machine until Ctrl-C: search and filter
    chains, see why one was kept or dropped, and what students answered. Nothing is changed."""
    from scotd.browse.app import browsing
    from scotd.browse.library import open_library
    from scotd.progress import track
    from scotd.web.app import LOOPBACK
    from scotd.web.serve import serve

    missing = [path for path in paths if not path.exists()]
    if missing:
        raise ConfigError(
            f"{missing[0]}: no such run folder or corpus. `scotd run` and `scotd corpus import` make them."
        )
    library = open_library(paths, study, track)
    say(f"{len(library.columns):,} chains on {len(library.columns.questions):,} questions")
    try:
        serve(browsing(library, LOOPBACK), "127.0.0.1", port, lambda at: click.echo(f"Browsing: {at} (Ctrl-C ends it)"))
    finally:
        library.close()
