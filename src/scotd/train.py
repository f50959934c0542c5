"""Training on trees inside transformers' Trainer (paper 2, step 4).

    examples (prompt + targets)  ->  rows  ->  a plan of optimizer steps  ->  TreeTrainer

The plan is made once, from a seed: which chains each optimizer step sees, over all epochs. A step holds `batch_chains`
chains, so the batch counts chains and not rows; every chain is visited once an epoch. Steps are cut into as many
micro-batches as processes x accumulation ask for, and the loss is divided by the step's global weight, so that one
process and many compute the same update. Since the plan is fixed, resuming means skipping what was done. Of several
processes the first measures on dev; a checkpoint is marked as whole when all have written their part.
"""

import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from scotd.config import TrainingConfig
from scotd.device import release_memory
from scotd.errors import DataError
from scotd.forward import ATTENTION, attention_of, head_is_plain, tree_loss
from scotd.layers import Forwards, compiled_layers, lean_forwards, lean_layers
from scotd.sharded import whole
from scotd.student import Loaded
from scotd.token_store import TokenExample
from scotd.tree import Branch, TreeBatch, TreeRow, check_supported, collate, pack

_COMPLETE = "scotd_complete"  # written after everything else of a checkpoint: kill -9 in the middle leaves it out

RELEASE_STEPS = 20

DevMetric = Callable[[Any], float]
OnStep = Callable[[int, int, float | None], None]  # (steps done, steps in all, last logged loss)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some branches of one example: a row of a micro-batch. `empty` pieces carry weight 0 and fill a short step."""

    example: int
    branches: tuple[int, ...]
    empty: bool = False


MicroBatch = tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a training: steps and chain visits done, the loss per token of each step, the dev metric by step.

    `model` is the trained model, whole in the first process: the one that was given, or of a sharded one a copy.
    """

    steps: int
    chain_visits: int
    losses: tuple[float, ...]
    dev: dict[int, float]
    best_step: int | None
    model: Any = field(compare=False, repr=False)


def steps_in(branch_counts: Sequence[int], config: TrainingConfig) -> int:
    """Number of optimizer steps over all epochs."""
    return config.epochs * -(-sum(branch_counts) // config.batch_chains)


def plan(branch_counts: Sequence[int], config: TrainingConfig, micro_batches: int) -> Iterator[list[MicroBatch]]:
    """Optimizer steps over all epochs, each of exactly `micro_batches` micro-batches; made an epoch at a time.

    `branch_counts[i]` is the number of chains of example i. Every epoch visits every chain once, in an order drawn from
    the seed; every step but an epoch's last holds exactly `batch_chains` chains.
    """
    order = random.Random(config.seed)
    for _ in range(config.epochs):
        pieces: list[Piece] = []
        for example, count in enumerate(branch_counts):
            chains = list(range(count))
            order.shuffle(chains)
            for start in range(0, count, config.branches_per_row):
                pieces.append(Piece(example=example, branches=tuple(chains[start : start + config.branches_per_row])))
        order.shuffle(pieces)
        for step in _cut(pieces, config.batch_chains):
            yield _spread(step, micro_batches)


def _cut(pieces: Sequence[Piece], batch_chains: int) -> Iterator[list[Piece]]:
    """Cut a sequence of pieces into steps of `batch_chains` chains, splitting a piece where a step is full."""
    step: list[Piece] = []
    room = batch_chains
    for piece in pieces:
        rest = piece.branches
        while rest:
            if room == 0:
                yield step
                step, room = [], batch_chains
            step.append(Piece(example=piece.example, branches=rest[:room]))
            taken = min(room, len(rest))
            rest, room = rest[taken:], room - taken
    if step:
        yield step


def _spread(pieces: Sequence[Piece], micro_batches: int) -> list[MicroBatch]:
    """Deal the pieces of one step out to its micro-batches, the fullest first, each to the emptiest."""
    hands: list[list[Piece]] = [[] for _ in range(micro_batches)]
    for piece in sorted(pieces, key=lambda piece: -len(piece.branches)):
        min(hands, key=lambda hand: sum(len(held.branches) for held in hand)).append(piece)
    filler = Piece(example=pieces[0].example, branches=pieces[0].branches[:1], empty=True)
    return [tuple(hand) if hand else (filler,) for hand in hands]


class MicroBatches(Dataset[TreeBatch]):
    """The plan as a dataset: one item is one micro-batch, packed when asked for. Meant to be read in order."""

    def __init__(self, examples: Sequence[TokenExample], config: TrainingConfig, micro_batches: int) -> None:
        self.examples = examples
        self.counts = [len(example.branches) for example in examples]
        self.config = config
        self.micro_batches = micro_batches
        self._steps: Iterator[list[MicroBatch]] = iter(())
        self._step: list[MicroBatch] = []
        self._at = len(self)  # the step that `_step` is: none yet

    def __len__(self) -> int:
        return steps_in(self.counts, self.config) * self.micro_batches

    def __getitem__(self, index: int) -> TreeBatch:
        step, place = divmod(index, self.micro_batches)
        if step < self._at:
            self._steps, self._at = plan(self.counts, self.config, self.micro_batches), -1
        while self._at < step:
            self._step = next(self._steps)
            self._at += 1
        return collate([self._row(piece) for piece in self._step[place]])

    def _row(self, piece: Piece) -> TreeRow:
        example = self.examples[piece.example]
        branches = [example.branches[number] for number in piece.branches]
        if piece.empty:
            branches = [Branch(tokens=branch.tokens, weight=0.0) for branch in branches]
        return pack(example.prompt, branches)


class TreeTrainer(Trainer):
    """Trainer with the loss of `forward.tree_loss`, divided by the weight of the whole optimizer step.

    Trainer counts labels and scales by accumulation and processes; here the count is the global weight, and because
    gradients are averaged over processes, each one multiplies its share by their number. `forwards` are those of
    `layers.lean_forwards`: for steps alone, so that the dev metric finds the model as it is.
    """

    def __init__(
        self,
        *,
        dev_metric: DevMetric | None,
        plain_head: bool,
        forwards: Forwards,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dev_metric = dev_metric
        self.plain_head = plain_head
        self.forwards = forwards
        self.loss_is_scaled_for_ga = True  # divided by the step's weight already

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        data = self.train_dataset if train_dataset is None else train_dataset
        assert isinstance(data, MicroBatches)
        return SequentialSampler(data)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        weight = torch.stack([sample["weights"].sum() for sample in batch_samples]).sum().to(device)
        return self.accelerator.gather(weight).sum() if self.args.world_size > 1 else weight

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        with lean_layers(self.forwards):
            loss: Tensor = super().training_step(*args, **kwargs)
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        assert num_items_in_batch is not None and not return_outputs
        batch = TreeBatch(**inputs).to(self.args.device)  # type: ignore[arg-type]
        inner = self.accelerator.unwrap_model(model)
        loss = tree_loss(model, batch, plain_head=self.plain_head, inner=inner)
        return loss / num_items_in_batch * self.args.world_size

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The dev metric, greater is better; there is no other evaluation during training."""
        assert self.dev_metric is not None
        model = whole(self.accelerator.unwrap_model(self.model))
        found = [self.dev_metric(model) if self.args.process_index == 0 else 0.0]  # the others are told
        if self.args.world_size > 1:
            distributed.broadcast_object_list(found, src=0, device=torch.device("cpu"))
        metrics = {"eval_dev": found[0]}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _Watch(TrainerCallback):
    """Reports steps, marks checkpoints that were written whole, and deletes the ones that are needed no more."""

    def __init__(self, on_step: OnStep) -> None:
        self.on_step = on_step

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        last = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        self.on_step(state.global_step, state.max_steps, last)
        if state.global_step % RELEASE_STEPS == 0:
            release_memory()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.world_size > 1:
            distributed.barrier()  # what is marked as whole holds everybody's part
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        needed = {f"checkpoint-{step}" for step in (state.global_step, state.best_global_step)}
        (folder / f"checkpoint-{state.global_step}" / _COMPLETE).touch()
        for path in folder.glob("checkpoint-*"):
            if path.name not in needed:
                (path / _COMPLETE).unlink(missing_ok=True)  # first: half a checkpoint must not pass for a whole one
                shutil.rmtree(path)


def train(
    loaded: Loaded,
    examples: Sequence[TokenExample],
    config: TrainingConfig,
    *,
    folder: Path,
    dtype: torch.dtype,
    on_step: OnStep,
    dev_metric: DevMetric | None = None,
    accumulation: int = 1,
) -> Trained:
    """Train in place, resuming from the last whole checkpoint in `folder`; the best dev checkpoint is what remains.

    Weights stay float32; `dtype` bfloat16 computes under autocast. With a `dev_metric` it is asked `evaluations` times
    and the checkpoint with the highest value is loaded at the end (the earliest of equals). Raises DataError where
    there is nothing to train on, ModelError where the model cannot take a tree exactly.
    """
    if not examples:
        raise DataError("No chain is left to train on: look at the selection's counts (`scotd report`).")
    model = loaded.model
    longest = max(len(example.prompt) + max(len(branch.tokens) for branch in example.branches) for example in examples)
    check_supported(model, longest)
    arguments = _arguments(config, folder, dtype, accumulation, dev_metric is not None and config.evaluations > 0)
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # a plain start uses one GPU: DataParallel would cut trees; several need torchrun
    world = arguments.world_size
    data = MicroBatches(examples, config, world * accumulation)
    steps = steps_in(data.counts, config)
    _set_intervals(arguments, config, steps)
    trainer = TreeTrainer(
        dev_metric=dev_metric,
        plain_head=head_is_plain(model),
        forwards=[] if config.compile else lean_forwards(model),
        model=model,
        args=arguments,
        train_dataset=data,
        eval_dataset=data if arguments.eval_strategy != "no" else None,
        data_collator=_only_one,
        callbacks=[_Watch(on_step)],
    )
    for unwanted in ("PrinterCallback", "ProgressCallback"):
        for callback in [held for held in trainer.callback_handler.callbacks if type(held).__name__ == unwanted]:
            trainer.remove_callback(type(callback))
    model.config.use_cache = False
    with attention_of(model, ATTENTION), compiled_layers(model) if config.compile else nullcontext():
        trainer.train(resume_from_checkpoint=_last_whole_checkpoint(folder, clean=arguments.process_index == 0))
    model.config.use_cache = True
    if world > 1:
        distributed.barrier()  # the first process deletes the checkpoints when all have read the best one
    history = trainer.state.log_history
    losses = [entry["loss"] for entry in history if "loss" in entry]
    return Trained(
        steps=steps,
        chain_visits=config.epochs * sum(data.counts),
        losses=tuple(losses),
        dev={int(entry["step"]): entry["eval_dev"] for entry in history if "eval_dev" in entry},
        best_step=trainer.state.best_global_step,
        model=whole(model),
    )


def _arguments(
    config: TrainingConfig, folder: Path, dtype: torch.dtype, accumulation: int, evaluates: bool
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan holds all epochs
        per_device_train_batch_size=1,  # one item is one micro-batch
        gradient_accumulation_steps=accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=dtype == torch.bfloat16,
        activation_checkpointing=config.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available(),
        eval_strategy="steps" if evaluates else "no",
        load_best_model_at_end=evaluates,
        metric_for_best_model="eval_dev" if evaluates else None,
        greater_is_better=True if evaluates else None,
        save_strategy="steps",
        logging_steps=1,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=list(config.report_to) or "none",
        seed=config.seed,
        data_seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _set_intervals(arguments: TrainingArguments, config: TrainingConfig, steps: int) -> None:
    """Warm-up, checkpoints and evaluations in steps, now that their number is known."""
    arguments.max_steps = steps
    arguments.warmup_steps = round(config.warmup_ratio * steps)
    if arguments.eval_strategy != "no":
        arguments.eval_steps = arguments.save_steps = max(1, -(-steps // config.evaluations))
    elif config.checkpoints > 0:
        arguments.save_steps = max(1, -(-steps // (config.checkpoints + 1)))
    else:
        arguments.save_strategy = SaveStrategy.NO


def _only_one(items: list[TreeBatch]) -> dict[str, Tensor]:
    (batch,) = items
    return dict(vars(batch))


def _last_whole_checkpoint(folder: Path, *, clean: bool) -> str | None:
    """The newest checkpoint that was written to its end; `clean` removes half-written ones (one process does)."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if (path / _COMPLETE).exists():
            whole.append((int(path.name.rpartition("-")[2]), path))
        elif clean:
            shutil.rmtree(path)
    return str(max(whole)[1]) if whole else None
