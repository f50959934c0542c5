"""The stage that trains: each student once, unless the same one was trained before."""

import copy
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scotd import __version__
from scotd.asking import Asking
from scotd.config import INDIFFERENT, TrainingConfig
from scotd.decode import Decoder
from scotd.device import compute_dtype, pick_device
from scotd.errors import DataError
from scotd.evaluate import accuracy, answer
from scotd.experiment.card import model_card
from scotd.experiment.examples import Examples
from scotd.experiment.plan import Plan
from scotd.experiment.ranks import Job, announce, processes
from scotd.experiment.record import RunFolder
from scotd.experiment.run import Say
from scotd.models import ModelFiles, durable_name, resolve
from scotd.progress import Tracker
from scotd.student import load, outline, save, training_record, write_training_record
from scotd.teachers import teacher_name
from scotd.token_store import TokenStore, tokenize
from scotd.tokens import encode_prompt
from scotd.train import steps_in
from scotd.tree import check_supported
from scotd.types import Decoding, Prediction, Question, SamplingParams, Target, digest


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student ready to answer: where its weights are, and the fingerprint of everything that made it.

    `chains` counts the distinct chains (or labels) it was trained on; None where it was not trained. `files` is None
    where no weights are needed: the teacher's answers are in the corpus, and so are all of a student whose weights
    were not kept.
    """

    name: str
    files: ModelFiles | None
    fingerprint: str
    chains: int | None = None


def train_stage(
    plan: Plan,
    folder: RunFolder,
    trainings: Mapping[str, Examples],
    *,
    answered: Callable[[Student], bool],
    say: Say,
    progress: Tracker,
) -> Iterator[Student]:
    """Train what is not trained yet, in the file's order, one student whenever the next is asked for.

    A student whose weights were not kept is trained again only where it has not `answered` everything.
    """
    fits = False
    for name, config in plan.experiment.students.items():
        if config.target is Target.TEACHER:
            yield Student(name=name, files=None, fingerprint=teacher_name(plan.experiment.teacher))
            continue
        base = resolve(config.model or plan.experiment.student, progress=progress)
        if config.target is Target.UNDISTILLED:
            yield Student(name=name, files=base, fingerprint=digest(_start(base)))
            continue
        settings = plan.experiment.training_of(name)
        made = trainings[name]
        fingerprint = _fingerprint(plan, name, base=base, made=made, settings=settings)
        path = folder.path / "students" / name
        with folder.stage("train", name, of=fingerprint) as record:
            before = training_record(path)
            same = before is not None and before["fingerprint"] == fingerprint
            if before is not None and same and (_weights(path) or answered(_trained(name, before, files=None))):
                record.skipped = True
                trained = before | Asking.of(plan.experiment, name, plan.train).to_json()  # decides no weights
                if trained != before:
                    write_training_record(path, trained)
                say(f"train: {name}: done before")
            else:
                if same and not _weights(path):
                    shutil.rmtree(path)
                elif before is not None:
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
        yield _trained(name, trained, files=resolve(str(path)) if _weights(path) else None)


def let_go(plan: Plan, folder: RunFolder, student: Student) -> None:
    """Delete the weights of a student that has answered everything, where the experiment does not keep them."""
    if student.chains is not None and not plan.experiment.training_of(student.name).keep_weights:
        for path in _weights(folder.path / "students" / student.name):
            path.unlink()


def _weights(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors"))


def _trained(name: str, record: Mapping[str, Any], files: ModelFiles | None) -> Student:
    return Student(name=name, files=files, fingerprint=record["fingerprint"], chains=record["chains"])


def _check_fits(plan: Plan, progress: Tracker) -> None:
    """Refuse students whose few-shot prompts are too long for them, before the others take hours."""
    for name, config in plan.experiment.students.items():
        few_shot = config.target is Target.UNDISTILLED or (config.target.trained and config.exemplars)
        if not few_shot:
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
    job = Job(
        base=base,
        settings=settings,
        examples=examples,
        folder=checkpoints,
        dtype=dtype,
        picks_on_dev=dev_metric is not None,
    )
    announce(job)
    with progress(f"training {name}, steps", steps_in(examples.branch_counts, settings)) as bar:
        seen = 0

        def on_step(done: int, _steps: int, loss: float | None) -> None:
            nonlocal seen
            if done > seen + 1:  # it goes on from a checkpoint
                bar.begin_at(done - 1)
                seen = done - 1
            bar.advance(done - seen, note=f"loss {loss:.3f}" if loss is not None else "")
            seen = done

        result = job.train(loaded, on_step=on_step, dev_metric=dev_metric)
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
        "processes": processes(),
        "compute": str(dtype).removeprefix("torch."),
        "training": settings.model_dump(mode="json"),
        **Asking.of(plan.experiment, name, plan.train).to_json(),
    }
    save(
        result.model if merge is None else merge(),
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


def _fingerprint(plan: Plan, name: str, *, base: ModelFiles, made: Examples, settings: TrainingConfig) -> str:
    """Everything that decides a student's weights: start, targets in order, settings, how checkpoints are picked."""
    targets = hashlib.sha256()
    for example in made.stream():
        told = [example.question_key, example.prompt.to_json(), example.targets, example.finished, example.weights]
        targets.update(digest(told).encode())
    younger = set() if settings.compile else {"compile"}  # than students that were trained without it
    counted = settings.model_dump(mode="json", exclude={*INDIFFERENT, *younger})
    dtype = str(compute_dtype(settings.precision, pick_device()))
    dev = [[plan.prompt_for(name, question).id, question.gold] for question in _picks_on_dev(plan, settings)]
    picking = [dev, _dev_decoding(plan, name).sampling.to_json(), plan.experiment.evaluation.batch_chains]
    return digest([*_start(base), targets.hexdigest(), counted, dtype, picking if dev else None])


def _start(files: ModelFiles) -> list[str]:
    """What tells one set of starting weights from another; a hub id stands for itself."""
    name = durable_name(files.reference)
    return [name, files.sha256 or name]
