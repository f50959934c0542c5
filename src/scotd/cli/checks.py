"""`scotd corpus merge` and `scotd corpus verify`: corpora put together, and looked through for damage."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scotd.cli.corpus import CORPUS, reading
from scotd.cli.exchange import refuse_other_files, writing
from scotd.cli.terminal import safe
from scotd.errors import ConfigError

if TYPE_CHECKING:
    from scotd.corpus import Merged


@click.command(short_help="Put several corpora into one.")
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN [IN]...")
def merge(out: Path, sources: tuple[Path, ...]) -> None:
    """Put everything of the corpora IN into the corpus OUT, which is made where there is none: every chain once, every
    request and its bill once. Stopped or done again, it goes on with what is missing. Selections and predictions stay
    where they are."""
    from scotd.corpus import merge as take_in
    from scotd.progress import track

    refuse_other_files(out)
    for source in sources:
        if out.exists() and source.exists() and out.samefile(source):
            raise ConfigError(f"{source}: is merged into itself; name OUT first, and then the corpora that go into it.")
        with reading(source):  # all can be read, before anything is made or written
            pass
    with writing(out) as corpus:
        for source in sources:
            merged = take_in(corpus, source, progress=track)
            for line in _merged_lines(source, merged):
                click.echo(safe(line))


@click.command(short_help="Look through a corpus for damage.")
@CORPUS
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Show so many of each kind.")
def verify(corpus: Path, limit: int) -> None:
    """Compute every identity of a CORPUS anew from what is stored, follow every reference, and hold the journal of
    requests against the chains. Nothing is written. Exit code 0: it is whole; 1: damaged; 2: it cannot be opened."""
    from scotd.corpus import verify as look_through
    from scotd.progress import track

    with reading(corpus) as opened:
        found = look_through(opened, progress=track, shown=limit)
    click.echo(", ".join(f"{name} {count:,}" for name, count in found.counts.items()))
    for what, count in found.notes.items():
        click.echo(f"{count:,} {what}")
    for damage in found.damages:
        click.echo(f"damaged {damage.kind}: {damage.count:,}")
        for line in damage.shown:
            click.echo(safe(f"  {line}"))
        if damage.count > len(damage.shown):
            click.echo(f"  ({damage.count - len(damage.shown):,} more; --limit shows more)")
    click.echo(f"{corpus} is {'whole' if found.whole else 'damaged'}.")
    if not found.whole:
        click.get_current_context().exit(1)


def _merged_lines(source: Path, merged: "Merged") -> Iterator[str]:
    chains, requests, questions = merged.chains, merged.requests, merged.questions
    yield (
        f"{source}: {chains.new + chains.same + chains.duplicate:,} chains ({chains.new:,} new, {chains.same:,} were "
        f"there), {questions.new:,} new questions, {requests.new:,} new requests"
    )
    for count, what in (
        (chains.duplicate, "chains have another text here, which stands; theirs are set aside"),
        (questions.changed, "questions have another label, split or pair here, which stands"),
        (merged.other_scores, "scores differ from those here, which stand"),
        (requests.ended, "requests were open here, and their outcome is known now"),
        (merged.left, "selections and predictions stay behind: they belong to their run folders"),
    ):
        if count:
            yield f"  {count:,} {what}"
