"""The stage that evaluates: every student answers every split in every way, or did so before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Literal

import torch

from scotd.blocks import Writer
from scotd.corpus import Corpus
from scotd.decode import Decoder
from scotd.device import compute_dtype, pick_device
from scotd.errors import RunError
from scotd.evaluate import accuracy, answer, predict
from scotd.experiment.plan import Plan
from scotd.experiment.record import RunFolder
from scotd.experiment.run import Cell
from scotd.experiment.students import Student
from scotd.fleet import Fleet, writer_of
from scotd.models import ModelFiles
from scotd.progress import Progress, Tracker, silent
from scotd.student import load
from scotd.teachers import teacher_name
from scotd.types import Completion, Decoding, Prediction, Question, Target, digest


def answered(plan: Plan, corpus: Corpus, student: Student) -> bool:
    """Whether a student has answered every question of every split in every way."""
    return all(
        len(corpus.predictions(_prediction_key(plan, student, decoding, questions), student.name, split, decoding.name))
        == len(questions)
        for split, questions in plan.evaluated.items()
        for decoding in plan.decodings(student.name, split).values()
    )


def evaluate_stage(
    plan: Plan, corpus: Corpus, folder: RunFolder, student: Student, *, progress: Tracker
) -> Iterator[Cell]:
    """Answer every split with a student; what is in the corpus already is not decoded again."""
    is_teacher = plan.experiment.students[student.name].target is Target.TEACHER
    writer: Writer | None = None
    with ExitStack() as open_until_all_answered:
        for split, questions in plan.evaluated.items():
            for decoding_name, decoding in plan.decodings(student.name, split).items():
                stage = f"{student.name}, {split}, {decoding_name}"
                key = _prediction_key(plan, student, decoding, questions)
                with folder.stage("evaluate", stage, of=key) as record:
                    if is_teacher:
                        done = _answers_of_teacher(plan, corpus, student.name, questions, decoding)
                    else:
                        done = corpus.predictions(key, student.name, split, decoding.name)
                    wanted_keys = {question.key for question in questions}
                    done = [  # answers are derived anew: a better parser costs no decoding
                        predict(plan.questions[prediction.question_key], decoding, prediction.chains)
                        for prediction in done
                        if prediction.question_key in wanted_keys
                    ]
                    if len(done) < len(questions):
                        assert student.files is not None, student
                        writer = writer or _writer(plan, student.files, open_until_all_answered, progress)
                        with progress(f"{student.name} answers {split}, {decoding_name}", len(questions)) as bar:
                            done += _answer(
                                plan,
                                student.name,
                                writer=writer,
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
    writer: Writer,
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
        writer,
        questions,
        lambda question: plan.prompt_for(student, question),
        decoding,
        seed=settings.seed,
        batch_chains=settings.batch_chains,
        done=done,
        store=store,
    )
    return new


def _writer(plan: Plan, files: ModelFiles, stack: ExitStack, progress: Tracker) -> Writer:
    """What writes a student's answers, here or on Ray; a fleet is ended with the stack."""
    experiment = plan.experiment
    if experiment.engine == "ray":
        return stack.enter_context(Fleet(files, experiment.ray, precision=_precision(), progress=progress))
    return decoder_of(files, progress)


def _precision() -> Literal["bfloat16", "float32"]:
    """What the answers are computed in, on every machine: that of this one."""
    return "bfloat16" if compute_dtype("auto", pick_device()) == torch.bfloat16 else "float32"


def decoder_of(files: ModelFiles, progress: Tracker = silent) -> Decoder:
    """A model ready to answer, in the precision that suits the machine."""
    device = pick_device()
    loaded = load(files, dtype=compute_dtype("auto", device), device=device, progress=progress)
    return Decoder(loaded.model, loaded.tokenizer)


def _prediction_key(plan: Plan, student: Student, decoding: Decoding, questions: Sequence[Question]) -> str:
    """The run under which predictions are stored: whatever decides their bits, so that nothing stale is shown.

    Every question of the split is part of it: they are decoded in each other's company.
    """
    settings = plan.experiment.evaluation
    how = [decoding.sampling.to_json(), decoding.votes, settings.seed, settings.batch_chains]
    prompts = [plan.prompt_for(student.name, question).id for question in questions]
    by_vllm = plan.experiment.engine == "ray" and writer_of(plan.experiment.ray) == "vllm"
    written = ["vllm"] if by_vllm else []  # Ray alone changes nothing: the same blocks in the same company
    return digest([student.fingerprint, how, prompts, str(compute_dtype("auto", pick_device())), *written])
