"""The stages that need torch: train every student, answer every split."""

import copy
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from scotd import __version__
from scotd.asking import Asking
from scotd.config import TrainingConfig
from scotd.corpus import Corpus
from scotd.decode import Decoder
from scotd.device import compute_dtype, pick_device
from scotd.errors import DataError, RunError
from scotd.evaluate import accuracy, answer, predict
from scotd.experiment.card import model_card
from scotd.experiment.examples import Examples
from scotd.experiment.plan import Plan
from scotd.experiment.record import RunFolder
from scotd.experiment.run import Cell, Say
from scotd.models import ModelFiles, durable_name, resolve
from scotd.progress import Progress, Tracker
from scotd.student import load, outline, save, training_record, write_training_record
from scotd.teachers import teacher_name
from scotd.token_store import TokenStore, tokenize
from scotd.tokens import encode_prompt
from scotd.train import steps_in, train
from scotd.tree import check_supported
from scotd.types import Completion, Decoding, Prediction, Question, SamplingParams, Target, digest


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student ready to answer: where its weights are, and the fingerprint of everything that made it.

    `chains` counts the distinct chains (or labels) it was trained on; None where it was not trained. `files` is None
    for the teacher as a row of the results: its answers are in the corpus.
    """

    name: str
    files: ModelFiles | None
    fingerprint: str
    chains: int | None = None


def train_stage(
    plan: Plan, folder: RunFolder, trainings: Mapping[str, Examples], *, say: Say, progress: Tracker
) -> list[Student]:
    """Train what is not trained yet, in the file's order."""
    students: list[Student] = []
    fits = False
    for name, config in plan.experiment.students.items():
        if config.target is Target.TEACHER:
            students.append(Student(name=name, files=None, fingerprint=teacher_name(plan.experiment.teacher)))
            continue
        base = resolve(config.model or plan.experiment.student, progress=progress)
        if config.target is Target.UNDISTILLED:
            students.append(Student(name=name, files=base, fingerprint=digest(_start(base))))
            continue
        settings = plan.experiment.training_of(name)
        made = trainings[name]
        fingerprint = _fingerprint(plan, name, base=base, made=made, settings=settings)
        path = folder.path / "students" / name
        with folder.stage("train", name, of=fingerprint) as record:
            before = training_record(path)
            if before is not None and before["fingerprint"] == fingerprint:
                record.skipped = True
                trained = before | Asking.of(plan.experiment, name, plan.train).to_json()  # decides no weights
                if trained != before:
                    write_training_record(path, trained)
                say(f"train: {name}: done before")
            else:
                if before is not None:
                    say(f"train: {name}: chains or settings changed; the student trained before is kept beside it")
                if not fits:
                    _check_fits(plan, progress)
                    fits = True
                trained = _train(
                    plan,
                    name,
                    base=base,
                    made=made,
                    settings=settings,
                    path=path,
                    fingerprint=fingerprint,
                    progress=progress,
                )
                say(
                    f"train: {name}: {trained['chain_visits']} chain visits in {trained['steps']} steps{_lost(trained)}"
                )
            record.counts = {"chain visits": trained["chain_visits"], "steps": trained["steps"]}
            if trained["left_out_too_long"]:
                record.counts["left out, too long"] = trained["left_out_too_long"]
        files = resolve(str(path))
        students.append(Student(name=name, files=files, fingerprint=fingerprint, chains=trained["chains"]))
    return students


def _check_fits(plan: Plan, progress: Tracker) -> None:
    """Refuse students whose few-shot prompts are too long for them, before the others take hours."""
    for name, config in plan.experiment.students.items():
        if config.target is not Target.UNDISTILLED and not config.exemplars:
            continue
        base = resolve(config.model or plan.experiment.student, progress=progress)
        model, tokenizer = outline(base, progress=progress)
        needed = 0
        for split, questions in plan.evaluated.items():
            caps = [decoding.sampling.max_tokens for decoding in plan.decodings(name, split).values()]
            prompts = (encode_prompt(tokenizer, plan.prompt_for(name, question)) for question in questions)
            needed = max(needed, max(map(len, prompts)) + max(caps)) if caps else needed
        check_supported(model, needed, f"shorten the exemplars, or set students.{name}.max_tokens, to bring both")


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
) -> dict[str, Any]:
    """Train and save a student; returns the record of its training."""
    device = pick_device()
    dtype = compute_dtype(settings.precision, device)
    torch.manual_seed(settings.seed)
    loaded = load(base, dtype=torch.float32, device=device, progress=progress)
    merge = None
    if settings.lora is not None:
        from scotd.lora import adapt

        merge = adapt(loaded.model, settings.lora)
    checkpoints = path.with_name(f"{name}.checkpoints") / fingerprint
    checkpoints.mkdir(parents=True, exist_ok=True)
    encoded = tokenize(made.stream(), loaded.tokenizer, settings.max_length)
    examples = TokenStore.of(encoded, checkpoints)
    chains = sum(examples.branch_counts)
    too_long = made.kept - chains
    if too_long and not examples:
        raise DataError(
            f"students.{name}: every one of the {too_long} chains is longer than training.max_length, "
            f"{settings.max_length} tokens with the question: raise it."
        )
    picks = _picks_on_dev(plan, settings)
    dev_metric = _dev_metric(plan, name, picks, loaded.tokenizer, dtype) if picks else None
    with progress(f"training {name}, steps", steps_in(examples.branch_counts, settings)) as bar:
        seen = 0

        def on_step(done: int, _steps: int, loss: float | None) -> None:
            nonlocal seen
            bar.advance(done - seen, note=f"loss {loss:.3f}" if loss is not None else "")
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
    record: dict[str, Any] = {
        "fingerprint": fingerprint,
        "scotd": __version__,
        "student": durable_name(base.reference),
        "student_sha256": base.sha256,
        "student_dequantised": base.dequantised,
        "target": plan.experiment.students[name].target,
        "selection": made.selection,
        "chains": chains,
        "questions": len(examples),
        "left_out_too_long": too_long,
        "chain_visits": result.chain_visits,
        "steps": result.steps,
        "loss": result.losses[-1] if result.losses else None,
        "losses": result.losses,
        "dev": result.dev,
        "best_step": result.best_step,
        "dropouts_set_to_0": loaded.dropouts,
        "compute": str(dtype).removeprefix("torch."),
        "training": settings.model_dump(mode="json"),
        **Asking.of(plan.experiment, name, plan.train).to_json(),
    }
    save(
        loaded.model if merge is None else merge(),
        loaded.tokenizer,
        path,
        training=record,
        card=model_card(plan, name, base, record),
    )
    shutil.rmtree(checkpoints.parent, ignore_errors=True)
    return record


def _lost(record: Mapping[str, Any]) -> str:
    count = record["left_out_too_long"]
    return f"; {count} chains left out, longer than {record['training']['max_length']} tokens" if count else ""


def _picks_on_dev(plan: Plan, settings: TrainingConfig) -> list[Question]:
    """The questions on which the checkpoint that remains is picked; none where it is the last one."""
    return [question for question in plan.dev if question.gold is not None] if settings.evaluations > 0 else []


def _dev_decoding(plan: Plan, name: str) -> Decoding:
    own = plan.experiment.students[name].max_tokens or plan.experiment.evaluation.max_tokens
    return Decoding(sampling=SamplingParams(temperature=0, max_tokens=own))


def _dev_metric(
    plan: Plan, name: str, labelled: Sequence[Question], tokenizer: Any, dtype: torch.dtype
) -> Callable[[Any], float]:
    """Greedy accuracy on the dev split, in the precision of the final evaluation."""
    settings = plan.experiment.evaluation
    decoding = _dev_decoding(plan, name)

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
                key = _prediction_key(plan, student, decoding, questions)
                with folder.stage("evaluate", stage, of=key) as record:
                    if student.files is None:
                        done = _answers_of_teacher(plan, corpus, student.name, questions, decoding)
                    else:
                        done = corpus.predictions(key, student.name, split, decoding.name)
                    wanted_keys = {question.key for question in questions}
                    done = [  # answers are derived anew: a better parser costs no decoding
                        predict(plan.questions[prediction.question_key], decoding, prediction.chains)
                        for prediction in done
                        if prediction.question_key in wanted_keys
                    ]
                    if student.files is not None and len(done) < len(questions):
                        decoder = decoder or _decoder(student.files, progress)
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


def _answers_of_teacher(
    plan: Plan, corpus: Corpus, row: str, questions: Sequence[Question], decoding: Decoding
) -> list[Prediction]:
    """What the teacher answered when it was sampled. Raises RunError where answers are missing."""
    found = corpus.chains(
        teacher=teacher_name(plan.experiment.teacher),
        sampling=decoding.sampling,
        question_keys=[question.key for question in questions],
        prompt_ids=[plan.prompt_for(row, question).id for question in questions],
    )
    chains: dict[str, list[Completion]] = {}
    for chain in found:
        if chain.index < decoding.votes:
            held = Completion(
                text=chain.text, finish=chain.finish, n_tokens=chain.n_tokens, mean_logprob=chain.mean_logprob
            )
            chains.setdefault(chain.question_key, []).append(held)
    missing = sum(decoding.votes - len(chains.get(question.key, ())) for question in questions)
    if missing:
        raise RunError(
            f"students.{row}: {missing} of {decoding.votes * len(questions)} answers of the teacher are missing: "
            f"`scotd run` asks for them again."
        )
    return [predict(question, decoding, chains[question.key]) for question in questions]


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


def _decoder(files: ModelFiles, progress: Tracker) -> Decoder:
    device = pick_device()
    loaded = load(files, dtype=compute_dtype("auto", device), device=device, progress=progress)
    return Decoder(loaded.model, loaded.tokenizer)


def _fingerprint(plan: Plan, name: str, *, base: ModelFiles, made: Examples, settings: TrainingConfig) -> str:
    """Everything that decides a student's weights: start, targets in order, settings, how checkpoints are picked."""
    targets = hashlib.sha256()
    for example in made.stream():
        told = [example.question_key, example.prompt.to_json(), example.targets, example.finished, example.weights]
        targets.update(digest(told).encode())
    counted = settings.model_dump(mode="json", exclude={"checkpoints", "report_to", "activation_checkpointing"})
    dtype = str(compute_dtype(settings.precision, pick_device()))
    dev = [[plan.prompt_for(name, question).id, question.gold] for question in _picks_on_dev(plan, settings)]
    picking = [dev, _dev_decoding(plan, name).sampling.to_json(), plan.experiment.evaluation.batch_chains]
    return digest([*_start(base), targets.hexdigest(), counted, dtype, picking if dev else None])


def _start(files: ModelFiles) -> list[str]:
    """What tells one set of starting weights from another; a hub id stands for itself."""
    name = durable_name(files.reference)
    return [name, files.sha256 or name]


def _prediction_key(plan: Plan, student: Student, decoding: Decoding, questions: Sequence[Question]) -> str:
    """The run under which predictions are stored: whatever decides their bits, so that nothing stale is shown.

    Every question of the split is part of it: they are decoded in each other's company.
    """
    settings = plan.experiment.evaluation
    how = [decoding.sampling.to_json(), decoding.votes, settings.seed, settings.batch_chains]
    prompts = [plan.prompt_for(student.name, question).id for question in questions]
    return digest([student.fingerprint, how, prompts, str(compute_dtype("auto", pick_device()))])
