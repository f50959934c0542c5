"""Whoever samples through an API installs no torch, and `scotd --help` waits for no library."""

import subprocess
import sys
from pathlib import Path

import scotd

PACKAGE = Path(scotd.__file__).parent
LOCAL = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "safetensors",
    "gguf",
    "sentence_transformers",
    "peft",
)  # the extra `local`
HEAVY = (*LOCAL, "numpy", "scipy", "pyarrow", "matplotlib", "pydantic", "httpx", "jinja2", "fastapi", "uvicorn")
# The only modules that need the extra (docs/design.md, "Layers").
WITH_TORCH = {
    "scotd.choose",
    "scotd.decode",
    "scotd.device",
    "scotd.embed",
    "scotd.experiment.evaluation",
    "scotd.experiment.measures",
    "scotd.experiment.ranks",
    "scotd.experiment.students",
    "scotd.fleet",
    "scotd.forward",
    "scotd.layers",
    "scotd.levels",
    "scotd.lora",
    "scotd.score",
    "scotd.sharded",
    "scotd.student",
    "scotd.teachers.local",
    "scotd.token_store",
    "scotd.train",
    "scotd.tree",
    "scotd.vllm_writer",
}

REFUSE = f"""
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {LOCAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def modules() -> list[str]:
    parts = (path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(part for part in one if part != "__init__") for one in parts)


def without_torch(code: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", REFUSE + code], capture_output=True, text=True, check=False, cwd=cwd)


def test_every_other_module_can_be_imported_without_torch() -> None:
    free = [name for name in modules() if name not in WITH_TORCH]
    assert set(modules()) >= WITH_TORCH and len(free) > 40
    code = f"""
import importlib
for name in {free!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(name, error)
"""
    done = without_torch(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_modules_with_torch_need_it() -> None:
    code = f"""
import importlib
for name in {sorted(WITH_TORCH)!r}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    print(name)
"""
    done = without_torch(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_line_starts_without_any_heavy_library() -> None:
    code = f"import sys, scotd.cli; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


EXPERIMENT = """\
name: asked
questions: {task: feedback, limit: {train: 3}}
teacher: {kind: openai, model: any, base_url: "http://127.0.0.1:9/v1"}
students: {scotd: {target: scotd}}
"""


def scotd_without_torch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "exp.yaml").write_text(EXPERIMENT, encoding="utf-8")
    return without_torch(f"sys.argv = {['scotd', *arguments]!r}\nfrom scotd.cli import main\nmain()", folder)


def test_questions_prompts_and_a_dry_run_need_no_torch(tmp_path: Path) -> None:
    done = scotd_without_torch(tmp_path, "run", "exp.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 training questions of 'feedback'" in done.stdout


def test_a_run_that_is_going_to_train_is_refused_before_chains_are_paid_for(tmp_path: Path) -> None:
    done = scotd_without_torch(tmp_path, "run", "exp.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "pip install 'scotd[local]'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["exp.yaml"]
