"""The documents are held to the program: the package's tree, the settings, the commands, the links."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from scotd.cli import cli
from scotd.config import (
    ColumnsConfig,
    DecodingConfig,
    EvaluationConfig,
    Experiment,
    FilterConfig,
    LoraConfig,
    PricesConfig,
    PromptConfig,
    PublishedConfig,
    PublishedResult,
    QuestionsConfig,
    RayConfig,
    SamplingConfig,
    Section,
    StudentConfig,
    TeacherConfig,
    TrainingConfig,
    parse_yaml,
)
from scotd.config_errors import section_of
from scotd.errors import ScotdError

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "scotd"
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "LOG.md", *sorted((ROOT / "docs").glob("*.md"))]


# ---- the package's tree ---------------------------------------------------------------------------------------------


def tree_of_the_readme() -> dict[str, str]:
    """Path below src/scotd -> its clause; folders end in a slash."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```\nsrc/scotd/\n(.*?)```", text, re.DOTALL)
    assert block is not None
    found: dict[str, str] = {}
    folders: list[str] = []
    for line in block[1].splitlines():
        entry = re.fullmatch(r"((?:    )+)(\S+)\s{2,}(\S.*)", line)
        assert entry is not None, f"not '    name    clause': {line!r}"
        depth = len(entry[1]) // 4 - 1
        path = "".join(folders[:depth]) + entry[2]
        assert path not in found, f"{path} twice"
        found[path] = entry[3]
        folders = [*folders[:depth], entry[2]]
    return found


def test_the_readmes_tree_is_the_package() -> None:
    listed = tree_of_the_readme()
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")} - {"__init__.py"}
    assert sorted(modules - listed.keys()) == [], "missing in README.md's tree"
    assert sorted(path for path in listed if not (PACKAGE / path).exists()) == [], "in README.md's tree only"
    assert all((PACKAGE / path).is_dir() == path.endswith("/") for path in listed)


# ---- docs/configuration.md ------------------------------------------------------------------------------------------

SECTIONS: dict[str, type[Section]] = {
    "experiment": Experiment,
    "questions": QuestionsConfig,
    "questions.columns": ColumnsConfig,
    "prompt": PromptConfig,
    "teacher": TeacherConfig,
    "teacher.prices": PricesConfig,
    "sampling": SamplingConfig,
    "students.NAME": StudentConfig,
    "students.NAME.filter": FilterConfig,
    "training": TrainingConfig,
    "training.lora": LoraConfig,
    "evaluation": EvaluationConfig,
    "evaluation.decodings.NAME": DecodingConfig,
    "ray": RayConfig,
    "published": PublishedConfig,
    "published.results": PublishedResult,
}


def documented() -> dict[str, dict[str, tuple[str, str]]]:
    """Section -> key -> (default as written, meaning)."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    section = ""
    for line in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines():
        if heading := re.fullmatch(r"## `(\S+)`", line):
            section = heading[1]
            found[section] = {}
        elif row := re.fullmatch(r"\| `(\w+)` \| (.+?) \| (.+) \|", line):
            found[section][row[1]] = (row[2], row[3])
    return found


def subsections(kind: type[Section]) -> set[type[Section]]:
    found = {section_of(field.annotation) for field in kind.model_fields.values()}
    return {one for one in SECTIONS.values() if one in found}


def test_every_section_of_the_configuration_is_documented() -> None:
    reached: set[type[Section]] = {Experiment}
    while (more := reached.union(*map(subsections, reached))) != reached:
        reached = more
    assert reached == set(SECTIONS.values()) == set(_all_sections(Section))
    assert list(documented()) == list(SECTIONS)


def _all_sections(kind: type[Section]) -> Iterator[type[Section]]:
    for one in kind.__subclasses__():
        if one.__module__ == Experiment.__module__:
            yield one
            yield from _all_sections(one)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default_and_its_words(section: str) -> None:
    fields = SECTIONS[section].model_fields
    rows = documented()[section]
    assert list(rows) == list(fields), "keys, in the order of config.py"
    for name, field in fields.items():
        written, meaning = rows[name]
        if field.is_required():
            assert written == "*required*", name
            continue
        quoted = re.fullmatch(r"`(.+)`", written)
        assert quoted is not None, f"{name}: a default in backticks, or *required*"
        value = parse_yaml(quoted[1].replace("\\|", "|"), name)
        annotation: Any = field.annotation
        given = TypeAdapter(annotation).validate_python(value)
        assert given == field.get_default(call_default_factory=True), name
        for word in re.findall(r"'([^']+)'", str(field.annotation)) if "Literal" in str(field.annotation) else ():
            assert f"`{word}`" in f"{written} {meaning}", f"{name}: '{word}' is not explained"


# ---- commands -------------------------------------------------------------------------------------------------------


def commands() -> list[list[str]]:
    """Every command line of a bash block that calls scotd, in order, without remarks."""
    found: list[list[str]] = []
    for path in DOCUMENTS:
        for block in re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("scotd ")]
    return found


def test_the_documents_show_every_command() -> None:
    shown = {tuple(word for word in arguments[:2] if word.replace("-", "").isalpha()) for arguments in commands()}
    assert {words[0] for words in shown} == set(cli.commands)
    groups = {name: command for name, command in cli.commands.items() if isinstance(command, click.Group)}
    assert groups.keys() == {"corpus", "judge", "student"}
    for name, group in groups.items():
        assert {words[1] for words in shown if words[0] == name} == set(group.commands)


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_of_the_documents_parses(arguments: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli)
    rest = list(arguments)
    while isinstance(command, click.Group):
        found = command.get_command(context, rest.pop(0))
        assert found is not None, arguments
        command = found
    command.make_context(arguments[0], rest)  # raises for an unknown option, a missing argument, a value that is none


def test_the_parsing_test_can_fail() -> None:
    with pytest.raises(click.NoSuchOption):
        cli.commands["run"].make_context("run", ["mine.yaml", "--no-such-option"])


def test_the_readmes_own_questions_walk_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """init, preview and dry run of README.md, in this order, on a small file. Two of its questions become exemplars."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCOTD_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    header = "question,a,b,answer\n"
    rows = [f"Is {number} more than {number + 1}?,it is,it is not,B\n" for number in range(8)]
    for name, kept in (("train.csv", rows[:6]), ("test.csv", rows[6:])):
        (tmp_path / name).write_text(header + "".join(kept), encoding="utf-8")
    runnable = [
        arguments
        for arguments in commands()
        if arguments[0] in ("init", "preview") or arguments == ["run", "mine.yaml", "--dry-run"]
    ]
    assert [arguments[0] for arguments in runnable] == ["init", "preview", "run"]
    outputs = []
    for arguments in runnable:
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0 and done.exception is None, (arguments, done.output, done.exception)
        outputs.append(done.output)
    assert "Is 0 more than 1?" in outputs[1]
    assert "4 training questions of 'mine' (2 exemplars left out)" in outputs[2]
    held = CliRunner().invoke(cli, ["run", "mine.yaml"])
    assert isinstance(held.exception, ScotdError), "exemplars that were not replaced stop a real run"


def test_the_shipped_experiment_files_are_valid() -> None:
    from scotd.config import load

    files = sorted((ROOT / "experiments").glob("*.yaml"))
    assert ROOT / "experiments" / "quickstart.yaml" in files
    for path in files:
        assert load(path).name


# ---- links, make, words ---------------------------------------------------------------------------------------------


def test_links_lead_somewhere() -> None:
    links = [
        (path, target)
        for path in DOCUMENTS
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8"))
        if not target.startswith("https://")
    ]
    assert len(links) > 5
    broken = [
        f"{path.name}: {target}" for path, target in links if not (path.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def test_the_tables_of_what_a_corpus_takes_are_what_the_script_prints() -> None:
    done = subprocess.run([sys.executable, ROOT / "bench" / "cost.py"], capture_output=True, text=True, check=True)
    printed = done.stdout.strip()
    assert printed.count("\n") > 30 and "| measured |" in printed and "| assumed |" in printed
    assert f"```bash\npython bench/cost.py\n```\n\n{printed}\n" in (ROOT / "docs" / "scale.md").read_text(
        encoding="utf-8"
    )


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        target
        for path in DOCUMENTS
        for target in re.findall(r"`?make ([a-z][\w-]*)[`\s]", path.read_text(encoding="utf-8"))
    }
    assert {"quickstart", "test"} <= named
    assert named & {"quickstart", "test", "check", "bench", "test-slow", "install", "help"} <= targets


def test_tests_that_the_design_names_exist() -> None:
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", design)) | set(
        re.findall(r"`(test_\w+\.py)::\w+::(test_\w+)`", design)
    )
    assert len(named) > 20
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if f"def {test}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_pins_are_exact_portable_and_complete() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin) for pin in pins), (
        "no hosts, paths or local versions"
    )
    names = {re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() for pin in pins}
    assert not [name for name in names if name.startswith("nvidia") or name in ("triton", "pip", "scotd")]
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    required = {re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", one)[0]).lower() for one in wanted}
    assert sorted(required - names) == [], "dependencies of pyproject.toml without a pin"


def test_documents_hold_valid_json_and_yaml() -> None:
    for path in DOCUMENTS:
        for kind, block in re.findall(r"```(yaml|json)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            if kind == "json":
                json.loads(block)
            elif not re.search(r"^teacher:.*\nteacher:", block, re.MULTILINE):  # alternatives of one key
                parse_yaml(block, path.name)
