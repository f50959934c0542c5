"""`scotd pack`: a run in one file gives the numbers that its folder gives, and holds nothing that it should not."""

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from run_folders import Seen, make_run
from test_report_arms import GIVEN, TWO, given_run, outcome

from scotd.cli import cli
from scotd.errors import RunError
from scotd.report import write_report
from scotd.report.collect import collect
from scotd.report.pack import pack
from scotd.report.pair import compared


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "machine" / "run")


def pack_into(out: Path, *runs: Path, texts: bool = False) -> Path:
    notes = pack(runs, out, texts=texts)
    assert all("are in no corpus that is there" in note for note in notes), notes
    return out


def numbers(page: Path) -> dict[str, object]:
    """What a report says, but for the examples, which need the corpus, and for notes."""
    found = json.loads(page.with_name("summary.json").read_text())
    return {key: value for key, value in found.items() if key not in ("notes", "examples")}


def test_a_packed_run_is_reported_and_compared_like_its_folder(run: Path, tmp_path: Path) -> None:
    packed = pack_into(tmp_path / "sent" / "mine.zip", run)
    assert numbers(write_report(packed)) == numbers(write_report(run))
    assert (tmp_path / "sent" / "mine-report" / "report.html").is_file()
    for names in (("scotd", "label-only"), ("scotd:vote", "greedy-cot:vote")):
        sides = [[f"{path}:{name}" for name in names] for path in (run, packed)]
        assert compared(*sides[0]).pairs == compared(*sides[1]).pairs
    assert compared(f"{packed}:scotd", f"{run}:label-only").pairs == compared(f"{run}:scotd", f"{run}:label-only").pairs


def test_its_pages_name_questions_and_answers_where_no_text_is(run: Path, tmp_path: Path) -> None:
    page = write_report(pack_into(tmp_path / "sent" / "mine.zip", run)).parent / "answers" / "scotd.test.vote.html"
    seen = Seen.of(page.read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (run / "predictions" / "scotd.test.vote.jsonl").read_text().splitlines()]
    assert rows and f"{len(rows)} whose question is in no corpus at hand" in seen.text
    assert all(row["question_key"] in seen.text for row in rows) and seen.unbalanced == []


def test_it_holds_answers_and_no_texts_or_places(run: Path, tmp_path: Path) -> None:
    path = run / "experiment.json"
    settings = json.loads(path.read_text())
    settings["student"] = str(tmp_path / "machine" / "my-student")
    settings.setdefault("prompt", {})["exemplars"] = str(tmp_path / "machine" / "shown.yaml")
    settings["scales"] = {"here": {"questions.path": str(tmp_path / "machine" / "data")}}
    settings.setdefault("sampling", {})["stop"] = ["/", "\n\nQ:"]
    path.write_text(json.dumps(settings))
    packed = pack_into(tmp_path / "mine.zip", run)
    with zipfile.ZipFile(packed) as files:
        held = {name: files.read(name).decode() for name in files.namelist()}
    assert "predictions/scotd.test.vote.jsonl" in held and "experiment.json" in held
    assert not any("machine/" in text or str(tmp_path) in text for text in held.values())
    kept = json.loads(held["experiment.json"])
    assert kept["student"] == "my-student" and kept["prompt"]["exemplars"] == "shown.yaml"
    assert kept["sampling"]["stop"] == ["/", "\n\nQ:"]
    assert collect(run, packed).differing == ()
    rows = [json.loads(line) for line in held["predictions/scotd.test.vote.jsonl"].splitlines()]
    assert all(chain.keys() == {"answer", "n_tokens"} for row in rows for chain in row["chains"])
    with zipfile.ZipFile(pack_into(tmp_path / "texts.zip", run, texts=True)) as files:
        whole = files.read("predictions/scotd.test.vote.jsonl").decode()
    assert whole.strip() == (run / "predictions" / "scotd.test.vote.jsonl").read_text().strip()
    assert pack_into(tmp_path / "again.zip", run).read_bytes() == packed.read_bytes()


def test_packing_again_takes_a_packed_run(run: Path, tmp_path: Path) -> None:
    once = pack_into(tmp_path / "once.zip", run, texts=True)
    assert pack_into(tmp_path / "twice.zip", once).read_bytes() == pack_into(tmp_path / "mine.zip", run).read_bytes()


def test_seeds_of_several_sittings_become_one_run(tmp_path: Path) -> None:
    whole = given_run(tmp_path / "whole", GIVEN, students=TWO, seeds=[0, 1])
    parts = [
        given_run(
            tmp_path / f"sitting{seed}",
            {name: rows for name, rows in GIVEN.items() if name.endswith((f"seed{seed}", "base"))},
            students=TWO,
            seeds=[seed],
        )
        for seed in (0, 1)
    ]
    first = pack_into(tmp_path / "first.zip", parts[0])
    both = pack_into(tmp_path / "both.zip", first, parts[1])
    for sides in (("scotd", "labels"), ("base", "scotd")):
        one, other = (compared(*(f"{path}:{side}" for side in sides)).pairs for path in (whole, both))
        assert one == other and len(one[0].seeds) == 2
    assert pack_into(tmp_path / "again.zip", both, first).read_bytes() == both.read_bytes()


def test_what_is_not_one_experiment_is_not_put_together(tmp_path: Path) -> None:
    run = given_run(tmp_path / "run", GIVEN, students=TWO, seeds=[0, 1])
    for name, changed, key in (
        ("other", {"student": "another"}, "student"),
        ("more", {"training": {"epochs": 7}}, "training"),
        ("rows", {"students": {**TWO, "scotd": {"target": "scotd", "share": 0.5}}}, r"students\.scotd-seed0"),
    ):
        settings = {"students": TWO, "seeds": [0, 1], **changed}
        other = given_run(tmp_path / name, GIVEN, **settings)  # type: ignore[arg-type]
        with pytest.raises(RunError, match=rf"{name}: differs from .*run in {key}: only runs of one experiment"):
            pack([run, other], tmp_path / "out.zip")
    alike = given_run(tmp_path / "alike", GIVEN, students=TWO, seeds=[0, 1], training={"checkpoints": 1})
    pack_into(tmp_path / "out.zip", run, alike)  # checkpoints decide nothing
    better = given_run(tmp_path / "better", {**GIVEN, "base": outcome("1111111111")}, students=TWO, seeds=[0, 1])
    notes = pack([run, better], tmp_path / "out.zip")
    assert "better: predictions/base.test.greedy.jsonl: answers otherwise" in notes[0]
    assert compared(f"{tmp_path / 'out.zip'}:base", f"{run}:base").pairs[0].seeds[0].right == (2, 2)


def test_the_corpus_beside_a_packed_run_is_its_own_and_no_other(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack_into(tmp_path / "sent" / "mine.zip", run)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "corpus.sqlite").write_bytes(b"somebody else's")
    page = write_report(packed, out=tmp_path / "page")
    assert "questions and teacher&#39;s chains are not shown" in page.read_text()


def test_what_cannot_be_packed_or_read_is_said(run: Path, tmp_path: Path) -> None:
    packed = pack_into(tmp_path / "mine.zip", run)
    damaged = tmp_path / "damaged.zip"
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(damaged, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    content = bytearray(damaged.read_bytes())
    at = content.index(b'"question_key"')
    content[at + 1 : at + 9] = b"damaged!"
    damaged.write_bytes(content)
    assert "CRC" in write_report(damaged).read_text()
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as files:
        files.writestr("readme.txt", "no run")
    for path in (other, tmp_path / "nowhere", Path(__file__)):
        with pytest.raises(RunError, match=r"is no run folder: it holds no experiment\.json.*scotd pack"):
            pack([path], tmp_path / "out.zip")
    for file in (run / "predictions").iterdir():
        file.unlink()
    with pytest.raises(RunError, match="nobody has answered yet"):
        pack([run], tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists()


def test_what_a_student_wrote_is_left_out_of_rows_that_are_odd_too(run: Path, tmp_path: Path) -> None:
    path = run / "predictions" / "scotd.test.greedy.jsonl"
    first, second, *rest = path.read_text().splitlines()
    odd = json.loads(first)
    odd["chains"] = [{"text": "SECRET"}]
    path.write_text("\n".join([json.dumps(odd), second.replace('"text": "', '"text": "SECRET')[:-9], *rest]))
    notes = pack([run], tmp_path / "mine.zip")
    assert any("1 rows cannot be read, the first is row 2" in note for note in notes)
    with zipfile.ZipFile(tmp_path / "mine.zip") as files:
        assert not any("SECRET" in files.read(name).decode() for name in files.namelist())
    assert "1 rows cannot be read, the first is row 2" in write_report(tmp_path / "mine.zip").read_text()


def test_of_answers_in_several_runs_the_most_stay(run: Path, tmp_path: Path) -> None:
    whole = pack_into(tmp_path / "whole.zip", run)
    path = run / "predictions" / "scotd.test.greedy.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:5]))
    (run / "predictions" / "scotd.test.vote.jsonl").write_bytes(b"\xff")
    notes = pack([run, whole], tmp_path / "both.zip")
    assert len(notes) == 1 and "scotd.test.vote.jsonl: cannot be read as UTF-8 text" in notes[0]
    assert (tmp_path / "both.zip").read_bytes() == whole.read_bytes()


def test_counts_and_lineages_of_all_sittings_are_kept(tmp_path: Path) -> None:
    runs = []
    for seed in (0, 1):
        folder = given_run(tmp_path / f"sitting{seed}", GIVEN, students=TWO, seeds=[seed])
        (folder / "run.json").write_text(json.dumps({"started": f"day {seed}"}))
        counts = {"rows": [{"asked": 5 + seed}], "trained": {f"scotd-seed{seed}": 7 + seed}}
        (folder / "funnel.json").write_text(json.dumps(counts))
        runs.append(folder)
    notes = pack(runs, tmp_path / "both.zip")
    assert any("count different chains of the teacher" in note for note in notes)
    pack([tmp_path / "both.zip", runs[1]], tmp_path / "again.zip")
    for name in ("both", "again"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip") as files:
            assert json.loads(files.read("run.json")) == {"started": "day 0", "sittings": [{"started": "day 1"}]}
            assert json.loads(files.read("funnel.json"))["trained"] == {"scotd-seed0": 7, "scotd-seed1": 8}


def test_a_run_without_its_corpus_says_what_is_lost(run: Path, tmp_path: Path) -> None:
    for file in run.glob("*.sqlite*"):
        file.unlink()
    notes = pack([run], tmp_path / "mine.zip")
    assert any("answered questions are in no corpus that is there" in note for note in notes)


def test_files_of_others_that_cannot_be_read_are_said(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = pack_into(tmp_path / "mine.zip", run)
    content = packed.read_bytes()
    broken = tmp_path / "broken.zip"
    broken.write_bytes(content.replace(b"PK\x01\x02", b"PK\x09\x02"))
    with pytest.raises(RunError, match=r"broken\.zip: cannot be read as a packed run"):
        compared(f"{broken}:scotd", f"{run}:scotd")
    unknown = bytearray(content)  # the method of compression of the first file, in both of its headers
    unknown[8:10] = b"\x63\x00"
    at = content.index(b"PK\x01\x02")
    unknown[at + 10 : at + 12] = b"\x63\x00"
    broken.write_bytes(unknown)
    with pytest.raises(RunError, match=r"experiment\.json: cannot be read as JSON"):
        compared(f"{broken}:scotd", f"{run}:scotd")
    monkeypatch.setattr("scotd.report.read._MOST_BYTES", 500)
    with pytest.raises(RunError, match=r"cannot be read as JSON \(it is [\d,]+ bytes\)"):
        compared(f"{packed}:scotd", f"{run}:scotd")


def test_the_command_names_the_file(run: Path) -> None:
    done = CliRunner().invoke(cli, ["pack", str(run)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"Packed: {run.with_name('run.zip')} (") and run.with_name("run.zip").is_file()
