"""A corpus or a student to the Hugging Face hub, in one commit: all of it is there, or nothing.

    upload = Upload(repo="owner/name", kind="dataset", files={"chains.parquet": path}, card=card)
    push(upload, public=False, update=False)

A new repository is private unless `public`; one that is there is written to only with `update`, and never where it is
more public than asked for. The token is the one that `huggingface_hub` finds (HF_TOKEN, or what `hf auth login` left);
it is neither read here nor shown. Of a student only files go out that hold no program: see `student_files`.

The library `huggingface_hub` is imported only here, and only to push: pip install 'scotd[hub]'.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scotd.asking import RECORD, record_of
from scotd.clean import line
from scotd.errors import ModelError, PublishError

CARD = "README.md"
_LONGEST_REASON = 300  # characters of a server's own words
# What transformers writes beside the weights. A list of what may go, not of what may not: a pickle has many names.
_OF_A_STUDENT = (
    "*.safetensors",
    "*.safetensors.index.json",
    RECORD,
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """What goes to a repository: local files by their name in it, and the card."""

    repo: str
    kind: Literal["dataset", "model"]
    files: Mapping[str, Path]
    card: str


def check_name(repo: str) -> None:
    """Raise PublishError for what is no OWNER/NAME: it stands in a card before the hub ever sees it."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", repo, re.ASCII):
        raise PublishError(f"{repo}: not a name on the hub: give OWNER/NAME, for instance ada/feedback-chains.")


def student_files(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The files of a student that are published, by name, and the names of those that stay.

    Raises ModelError where it is no student, or has no weights in safetensors: other formats may run code when they
    are opened.
    """
    record_of(folder)
    found = {path.name: path for path in sorted(folder.iterdir())}
    sent = {name: path for name, path in found.items() if path.is_file() and any(map(Path(name).match, _OF_A_STUDENT))}
    if not any(name.endswith(".safetensors") for name in sent):
        raise ModelError(
            f"{folder}: holds no weights as .safetensors, and nothing else is published: train the student with "
            "training.keep_weights: true."
        )
    return sent, [name for name in found if name not in sent and name != CARD]


def push(upload: Upload, *, public: bool, update: bool) -> str:
    """Publish; returns the address. Raises PublishError in one sentence for whatever the hub or the network says."""
    try:
        import huggingface_hub as hub
        from huggingface_hub.utils import disable_progress_bars
    except ModuleNotFoundError:
        raise PublishError(
            "huggingface_hub is not installed, and pushing needs it: pip install 'scotd[hub]'."
        ) from None

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = hub.HfApi()
    with _said_in_one_sentence(upload.repo):
        if not api.repo_exists(upload.repo, repo_type=upload.kind):
            api.create_repo(upload.repo, repo_type=upload.kind, private=not public)
        elif not update:
            raise PublishError(f"{upload.repo} is there already: --update makes a new commit in it.")
        elif not public and not api.repo_info(upload.repo, repo_type=upload.kind).private:
            raise PublishError(f"{upload.repo} is there and public: --public publishes into it, or give another name.")
        added = {name: str(path) for name, path in upload.files.items()} | {CARD: upload.card.encode()}
        operations: list[hub.CommitOperationAdd | hub.CommitOperationDelete] = [
            hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=held) for name, held in added.items()
        ]
        if update:  # weights of an earlier student, in other parts, would be loaded beside the new ones
            there = api.list_repo_files(upload.repo, repo_type=upload.kind)
            stale = [name for name in there if name.endswith((".safetensors", ".index.json")) and name not in added]
            operations += [hub.CommitOperationDelete(path_in_repo=name, is_folder=False) for name in stale]
        done = api.create_commit(
            upload.repo, operations, repo_type=upload.kind, commit_message=f"Published by scotd: {len(added)} files"
        )
    return str(done.repo_url)


@contextmanager
def _said_in_one_sentence(repo: str) -> Iterator[None]:
    """Whatever the library raises, as a PublishError without an address, a header or a token in it."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except PublishError:
        raise
    except HFValidationError as error:
        raise PublishError(
            f"{repo}: not a name on the hub ({line(str(error))[:_LONGEST_REASON]}): OWNER/NAME."
        ) from None
    except OfflineModeIsEnabled:
        raise PublishError("HF_HUB_OFFLINE is set: unset it to push.") from None
    except Exception as error:  # while it sends files the library wraps what happened in a RuntimeError
        if not isinstance(error, (RuntimeError, ValueError, OSError)) and not _is_of_a_client(error):
            raise
        raise PublishError(_sentence(repo, error)) from None


def _is_of_a_client(error: BaseException) -> bool:
    """The library's HTTP client is httpx or httpx2, by version: known by its name, as it is no dependency of ours."""
    return any(kind.__module__.partition(".")[0] in ("httpx", "httpx2") for kind in type(error).__mro__)


def _sentence(repo: str, error: BaseException) -> str:
    from huggingface_hub.errors import HfHubHTTPError

    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            said = _without_token(line(cause.server_message or "")[:_LONGEST_REASON])
            return f"{repo}: the hub refuses (HTTP {status}{said and ', '}{said}): {_remedy(status)}."
    for cause in _causes(error):
        if isinstance(cause, ConnectionError) or _is_of_a_client(cause):
            return (
                f"{repo}: the connection to the hub broke ({type(cause).__name__}). Files appear in one commit, so "
                "none is there, or all are: give the same command, with --update where the repository was made."
            )
    *_, first = _causes(error)
    return f"{repo}: cannot be published: {type(first).__name__}, {_without_token(line(str(first)))[:_LONGEST_REASON]}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _remedy(status: int) -> str:
    if status == 401:
        return "set HF_TOKEN to a token that may write"
    if status == 403:
        return "the token may not write there; name a repository of your own as OWNER/NAME, or use a token that may"
    if status == 404:
        return "no such owner, or the token may not see it"
    if status == 409:
        return "the name is taken, or somebody else is writing to it; take another, or give --update"
    return "try again later" if status >= 500 or status == 429 else "look at what it says"


def _without_token(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "[token]") if token else text
