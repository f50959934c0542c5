"""`scotd corpus push` and `scotd student push`: to the Hugging Face hub, one commit, private unless told otherwise."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from scotd.cli.base import say
from scotd.cli.corpus import CORPUS, SPLIT, TASK, TEACHER, reading
from scotd.cli.exchange import check_filter
from scotd.cli.terminal import heading, indented, safe
from scotd.errors import DataError, ModelError

if TYPE_CHECKING:
    from scotd.publish import Upload

CHAINS = "chains.parquet"


def _switches(command: Callable[..., Any]) -> Callable[..., Any]:
    """What both commands take."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Show the files and the card; ask the network nothing."),
        click.option("--update", is_flag=True, help="Make a new commit in a repository that is there."),
        click.option("--public", is_flag=True, help="Let everybody see it; a new repository is private otherwise."),
    ):
        command = option(command)
    return command


@click.command("push", short_help="Publish a corpus on the Hugging Face hub.")
@CORPUS
@click.argument("repo")
@TASK
@SPLIT
@TEACHER
@click.option("--licence", metavar="ID", help="Licence of the questions, as the hub calls it: cc-by-4.0.")
@_switches
def push_corpus(
    corpus: Path,
    repo: str,
    task: str | None,
    split: str | None,
    teacher: str | None,
    licence: str | None,
    public: bool,
    update: bool,
    dry_run: bool,
) -> None:
    """Publish a CORPUS as the dataset REPO (OWNER/NAME) of the Hugging Face hub: the Parquet file of `scotd corpus
    export`, and a card that counts what it holds. The token is HF_TOKEN, or that of `hf auth login`."""
    from scotd.corpus import corpus_card, export_parquet
    from scotd.publish import Upload, check_name

    check_name(repo)
    with TemporaryDirectory(prefix="scotd-push-") as folder, reading(corpus) as opened:
        check_filter(opened, task, split, teacher)
        path = Path(folder) / CHAINS
        if not export_parquet(opened, path, task=task, split=split, teacher=teacher, servers=False).chains:
            raise DataError(f"{corpus}: holds no such chains, so that there is nothing to publish.")
        card = corpus_card(opened, repo, file=CHAINS, licence=licence, task=task, split=split, teacher=teacher)
        upload = Upload(repo=repo, kind="dataset", files={CHAINS: path}, card=card)
        _show_or_push(upload, public=public, update=update, dry_run=dry_run)


@click.command("push", short_help="Publish a student on the Hugging Face hub.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("repo")
@_switches
def push_student(folder: Path, repo: str, public: bool, update: bool, dry_run: bool) -> None:
    """Publish a student's FOLDER (runs/NAME/students/STUDENT) as the model REPO (OWNER/NAME) of the Hugging Face hub,
    with its model card: safetensors, configuration and tokenizer, never a pickle. The token is HF_TOKEN, or that of
    `hf auth login`."""
    from scotd.publish import CARD, Upload, check_name, student_files

    check_name(repo)
    files, staying = student_files(folder)
    if not (folder / CARD).is_file():
        raise ModelError(f"{folder}: has no {CARD}, the model card that the training wrote: train the student again.")
    for name in staying:
        say(f"stays here: {name}")
    card = (folder / CARD).read_text(encoding="utf-8")
    _show_or_push(
        Upload(repo=repo, kind="model", files=files, card=card), public=public, update=update, dry_run=dry_run
    )


def _show_or_push(upload: "Upload", *, public: bool, update: bool, dry_run: bool) -> None:
    from scotd.publish import CARD, push

    sizes = {name: path.stat().st_size for name, path in upload.files.items()} | {CARD: len(upload.card.encode())}
    seen = "public" if public else "private"
    if dry_run:
        click.echo(f"would publish {upload.repo}, a {seen} {upload.kind}:")
        for name, size in sizes.items():
            click.echo(safe(f"    {name}  {size:,} bytes"))
        click.echo(heading(CARD))
        click.echo(indented(upload.card))
        return
    where = push(upload, public=public, update=update)
    click.echo(safe(f"{where}: {len(sizes)} files, {sum(sizes.values()):,} bytes"))
