"""What a run folder holds besides students: configuration, lineage, stages, counts, predictions. Plain JSON."""

import json
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scotd.answers import parse
from scotd.types import Prediction, Question


@dataclass
class StageRecord:
    """One line of stages.json. Seconds and tokens add up over the sittings that a stage took.

    `of` names what it worked on (a fingerprint): a student that is trained anew starts its count anew.
    """

    stage: str
    name: str = ""
    of: str = ""
    seconds: float = 0.0
    tokens: int | None = None
    counts: dict[str, Any] = field(default_factory=dict)
    skipped: bool = False


class RunFolder:
    """Writes a run folder; every file appears whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self._stages = {(row["stage"], row["name"]): StageRecord(**row) for row in self._read("stages.json") or []}

    def configure(self, experiment: dict[str, Any]) -> int:
        """Write the resolved configuration. Where it is another one than before, the predictions written out under the
        old one are taken away, so that no report shows them beside the new: the corpus keeps them all. Returns how many
        files that were.
        """
        changed = self._read("experiment.json") not in (None, experiment)
        stale = list((self.path / "predictions").glob("*.jsonl")) if changed else []
        for path in stale:
            path.unlink()
        self.write("experiment.json", experiment)
        return len(stale)

    def write(self, name: str, value: object) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(path.name + ".partial")
        staging.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        staging.replace(path)

    def counts(self, stage: str, name: str = "") -> dict[str, Any]:
        """What earlier sittings of a stage counted."""
        return self._stages[stage, name].counts if (stage, name) in self._stages else {}

    @contextmanager
    def stage(self, stage: str, name: str = "", *, of: str = "") -> Iterator[StageRecord]:
        """Time a stage. What an earlier sitting took stays in the sum; a stage that did nothing says `skipped`."""
        before = self._stages.get((stage, name))
        before = None if before is None or before.of != of else before
        record = StageRecord(stage=stage, name=name, of=of)
        started = time.monotonic()
        try:
            yield record
        finally:
            record.seconds = round(time.monotonic() - started, 3)
            if before is not None:
                record.seconds = before.seconds if record.skipped else round(before.seconds + record.seconds, 3)
                record.tokens = _add(before.tokens, record.tokens)
                record.counts = record.counts or before.counts
                record.skipped = record.skipped and before.skipped
            self._stages[stage, name] = record
            self.write("stages.json", [vars(one) for one in self._stages.values()])

    def predictions(
        self, name: str, predictions: Iterable[Prediction], questions: Mapping[str, Question], decoding: str
    ) -> None:
        """Write predictions/NAME.jsonl, one line a question with its chains, their answers and the votes."""
        path = self.path / "predictions" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(path.name + ".partial")
        with staging.open("w", encoding="utf-8") as file:
            for prediction in sorted(predictions, key=lambda one: one.question_key):
                line = prediction_row(prediction, questions[prediction.question_key], decoding)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        staging.replace(path)

    def _read(self, name: str) -> Any:
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def prediction_row(prediction: Prediction, question: Question, decoding: str) -> dict[str, object]:
    """One line of predictions/*.jsonl: the answer, the votes, and every chain with its own answer."""
    chains = [
        {
            "text": chain.text,
            "finish": chain.finish,
            "n_tokens": chain.n_tokens,
            "mean_logprob": chain.mean_logprob,
            "answer": parse(chain.text, question, chain.finish).answer,
        }
        for chain in prediction.chains
    ]
    return {
        "question_key": prediction.question_key,
        "gold": question.gold,
        "answer": prediction.answer,
        "reason": prediction.reason,
        "correct": None if question.gold is None else prediction.answer == question.gold,
        "tally": prediction.tally,
        "tied": prediction.tied,
        "decoding": decoding,
        "chains": chains,
    }


def git_state() -> dict[str, object] | None:
    """Commit of the working directory and whether it has changes; None outside of a checkout or without git."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit.stdout.strip(), "changed": bool(status.stdout.strip())}


def versions() -> dict[str, str]:
    """Installed versions of what decides results, found without importing any of it."""
    found: dict[str, str] = {}
    for name in ("scotd", "torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _add(before: int | None, now: int | None) -> int | None:
    return now if before is None else before if now is None else before + now
