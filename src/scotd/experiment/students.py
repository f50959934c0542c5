"""The stages that need torch: train every student, answer every split."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scotd import __version__
from scotd.config import TrainingConfig
from scotd.corpus import Corpus
from scotd.decode import Decoder
from scotd.device import compute_dtype, pick_device
from scotd.errors import ModelError
from scotd.evaluate import accuracy, answer
from scotd.experiment.examples import Examples
from scotd.experiment.plan import Plan
from scotd.experiment.record import RunFolder
from scotd.experiment.run import Cell, Say
from scotd.models import ModelFiles, resolve
from scotd.progress import Progress, Tracker
from scotd.student import load, save, training_record
from scotd.train import Trained, tokenize, train
from scotd.types import Decoding, Prediction, Question, SamplingParams, Target, digest


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student ready to answer: where its weights are, and the fingerprint of everything that made it."""

    name: str
    files: ModelFiles
    fingerprint: str


def train_stage(
    plan: Plan, folder: RunFolder, trainings: Mapping[str, Examples], *, say: Say, progress: Tracker
) -> list[Student]:
    """Train what is not trained yet, in the file's order."""
    students: list[Student] = []
    for name, config in plan.experiment.students.items():
        base = resolve(config.model or plan.experiment.student, progress=progress)
        if config.target is Target.UNDISTILLED:
            students.append(Student(name=name, files=base, fingerprint=digest([base.reference, base.sha256])))
            continue
        settings = plan.experiment.training_of(name)
        made = trainings[name]
        fingerprint = _fingerprint(base, made, settings)
        path = folder.path / "students" / name
        with folder.stage("train", name) as record:
            before = training_record(path)
            if before is not None and before["fingerprint"] == fingerprint:
                record.skipped = True
                record.counts = {"chain visits": before["chain_visits"], "steps": before["steps"]}
                say(f"train: {name}: done before")
            else:
                if before is not None:
                    say(f"train: {name}: chains or settings changed; the student trained before is kept beside it")
                result = _train(
                    plan,
                    name,
                    base=base,
                    made=made,
                    settings=settings,
                    path=path,
                    fingerprint=fingerprint,
                    progress=progress,
                )
                record.counts = {"chain visits": result.chain_visits, "steps": result.steps}
                say(f"train: {name}: {result.chain_visits} chain visits in {result.steps} steps")
        files = resolve(str(path))
        students.append(Student(name=name, files=files, fingerprint=fingerprint))
    return students


def _train(
    plan: Plan,
    name: str,
    *,
    base: ModelFiles,
    made: Examples,
    settings: TrainingConfig,
    path: Path,
    fingerprint: str,
    progress: Tracker,
) -> Trained:
    device = pick_device()
    dtype = compute_dtype(settings.precision, device)
    torch.manual_seed(settings.seed)
    loaded = load(base, dtype=torch.float32, device=device)
    examples, too_long = tokenize(made.examples, loaded.tokenizer, settings.max_length)
    checkpoints = path.with_name(f"{name}.checkpoints") / fingerprint
    dev_metric = _dev_metric(plan, name, loaded.tokenizer, dtype) if plan.dev and settings.evaluations > 0 else None
    with progress(f"training {name}", None) as bar:
        seen = 0

        def on_step(done: int, steps: int, loss: float | None) -> None:
            nonlocal seen
            bar.advance(done - seen, note=f"of {steps} steps" + (f", loss {loss:.3f}" if loss is not None else ""))
            seen = done

        result = train(
            loaded,
            examples,
            settings,
            folder=checkpoints,
            dtype=dtype,
            on_step=on_step,
            dev_metric=dev_metric,
            accumulation=settings.accumulation,
        )
    record: dict[str, object] = {
        "fingerprint": fingerprint,
        "scotd": __version__,
        "student": base.reference,
        "student_sha256": base.sha256,
        "student_dequantised": base.dequantised,
        "target": plan.experiment.students[name].target,
        "selection": made.selection,
        "chains": sum(len(example.branches) for example in examples),
        "questions": len(examples),
        "left_out_too_long": too_long,
        "chain_visits": result.chain_visits,
        "steps": result.steps,
        "loss": result.loss,
        "dev": result.dev,
        "best_step": result.best_step,
        "dropouts_set_to_0": loaded.dropouts,
        "compute": str(dtype).removeprefix("torch."),
        "training": settings.model_dump(mode="json"),
    }
    save(loaded.model, loaded.tokenizer, path, training=record, card=_card(plan, name, base, record))
    shutil.rmtree(checkpoints.parent, ignore_errors=True)
    return result


def _dev_metric(plan: Plan, name: str, tokenizer: Any, dtype: torch.dtype) -> Callable[[Any], float]:
    """Greedy accuracy on the dev split, in the precision of the final evaluation."""
    settings = plan.experiment.evaluation
    labelled = [question for question in plan.dev if question.gold is not None]
    own = plan.experiment.students[name].max_tokens or settings.max_tokens
    decoding = Decoding(sampling=SamplingParams(temperature=0, max_tokens=own))

    def metric(model: Any) -> float:
        decoder = Decoder(copy.deepcopy(model).to(dtype), tokenizer)
        found: list[Prediction] = []
        answer(
            decoder,
            labelled,
            lambda question: plan.prompt_for(name, question),
            decoding,
            seed=settings.seed,
            batch_chains=settings.batch_chains,
            store=found.extend,
        )
        result = accuracy(found, plan.questions)
        assert result is not None
        return result.rate

    return metric


def evaluate_stage(
    plan: Plan, corpus: Corpus, folder: RunFolder, students: list[Student], *, say: Say, progress: Tracker
) -> Iterator[Cell]:
    """Answer every split with every student; what is in the corpus already is not decoded again."""
    wanted = {
        f"{student.name}.{split}.{decoding}"
        for student in students
        for split in plan.evaluated
        for decoding in plan.decodings(student.name, split)
    }
    for old in (folder.path / "predictions").glob("*.jsonl"):
        if old.stem not in wanted:
            old.unlink()  # of a student or split that the experiment no longer has; the corpus keeps the predictions
    for student in students:
        decoder: Decoder | None = None
        for split, questions in plan.evaluated.items():
            for decoding_name, decoding in plan.decodings(student.name, split).items():
                stage = f"{student.name}, {split}, {decoding_name}"
                with folder.stage("evaluate", stage) as record:
                    key = _prediction_key(plan, student, decoding)
                    done = corpus.predictions(key, student.name, split, decoding.name)
                    wanted_keys = {question.key for question in questions}
                    done = [prediction for prediction in done if prediction.question_key in wanted_keys]
                    if len(done) < len(questions):
                        decoder = decoder or _decoder(student.files)
                        with progress(f"{student.name} answers {split}, {decoding_name}", len(questions)) as bar:
                            done += _answer(
                                plan,
                                student.name,
                                decoder=decoder,
                                questions=questions,
                                decoding=decoding,
                                done={prediction.question_key for prediction in done},
                                keep=partial(corpus.put_predictions, key, student.name, split),
                                bar=bar,
                            )
                    else:
                        record.skipped = True
                    tokens = sum(chain.n_tokens or 0 for prediction in done for chain in prediction.chains)
                    record.tokens = None if record.skipped else tokens
                    found = accuracy(done, plan.questions, plan.experiment.evaluation.confidence)
                    record.counts = {"questions": len(done)} | ({} if found is None else {"correct": found.correct})
                folder.predictions(f"{student.name}.{split}.{decoding_name}", done, plan.questions, decoding_name)
                yield Cell(student=student.name, split=split, decoding=decoding_name, accuracy=found)


def _answer(
    plan: Plan,
    student: str,
    *,
    decoder: Decoder,
    questions: Sequence[Question],
    decoding: Decoding,
    done: set[str],
    keep: Callable[[list[Prediction]], None],
    bar: Progress,
) -> list[Prediction]:
    settings = plan.experiment.evaluation
    new: list[Prediction] = []

    def store(predictions: list[Prediction]) -> None:
        keep(predictions)
        new.extend(predictions)
        bar.advance(len(predictions))

    bar.advance(len(done))
    answer(
        decoder,
        questions,
        lambda question: plan.prompt_for(student, question),
        decoding,
        seed=settings.seed,
        batch_chains=settings.batch_chains,
        done=done,
        store=store,
    )
    return new


def _decoder(files: ModelFiles) -> Decoder:
    device = pick_device()
    loaded = load(files, dtype=compute_dtype("auto", device), device=device)
    return Decoder(loaded.model, loaded.tokenizer)


def _fingerprint(base: ModelFiles, made: Examples, settings: TrainingConfig) -> str:
    """Everything that decides a student's weights: start, targets in order, settings, versions of the arithmetic."""
    start = base.sha256 or _folder_digest(base)
    targets = [
        [example.question_key, example.prompt.to_json(), example.targets, example.finished, example.weights]
        for example in made.examples
    ]
    counted = settings.model_dump(mode="json", exclude={"checkpoints", "report_to"})
    dtype = str(compute_dtype(settings.precision, pick_device()))
    return digest([base.reference, start, targets, counted, dtype])


def _folder_digest(files: ModelFiles) -> str:
    """Names, sizes and times of a local folder's files; a hub id stands for itself."""
    if files.path is None:
        return files.reference
    listed = sorted(files.path.glob("*.safetensors")) + sorted(files.path.glob("*.json"))
    return digest([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in listed])


def _prediction_key(plan: Plan, student: Student, decoding: Decoding) -> str:
    """The run under which predictions are stored: whatever decides their bits, so that nothing stale is shown."""
    settings = plan.experiment.evaluation
    how = [decoding.sampling.to_json(), decoding.votes, settings.seed, settings.batch_chains]
    prompts = [
        plan.prompt_for(student.name, question).id for split in plan.evaluated.values() for question in split[:1]
    ]
    return digest([student.fingerprint, how, prompts, str(compute_dtype("auto", pick_device()))])


def _card(plan: Plan, name: str, base: ModelFiles, record: Mapping[str, object]) -> str:
    """The model card: what it is, what it was trained on, how to ask it."""
    task = plan.experiment.questions.task
    start = base.reference + (f" (dequantised from {base.dequantised})" if base.dequantised else "")
    question = plan.train[0]
    prompt = plan.prompt_for(name, question)
    shown = prompt.text if prompt.text is not None else json.dumps(prompt.to_json(), ensure_ascii=False)
    licence = f"license: {base.licence.lower()}\n" if base.licence else ""
    if shown is None:
        raise ModelError("A student prompt is a text or messages.")
    return f"""---
{licence}tags: [scotd, distillation, chain-of-thought]
---
# {name}

A student of `{task}`, trained by Symbolic Chain-of-Thought Distillation (arXiv 2306.14050) with scotd {__version__}.

- starts from: {start}
- teacher: {plan.experiment.teacher.name or plan.experiment.teacher.model}
- target: {record["target"]}, selection: {record["selection"]}
- chains: {record["chains"]} for {record["questions"]} questions, {record["chain_visits"]} chain visits in
  {record["steps"]} steps, learning rate {plan.experiment.training_of(name).learning_rate:g}
- everything else: `scotd_training.json`

It answers prompts of exactly this form, and was trained on no other:

```
{shown}
```

Small students repeat what their teacher believed, right or wrong. Measure on your own questions before relying on it.
"""
