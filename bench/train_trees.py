"""Trees against separate sequences: one training step's forward and backward pass, on a model of SmolLM2-135M's shape.

    python bench/train_trees.py                 # or: make bench ARGS="--rounds 9"

Equality comes first, in float64 on four of the layers: loss and every parameter's gradient of the tree are those of
the separate sequences, or nothing is measured. Then the ways take turns, on the same chains, and one JSON line is
printed. `ratio` is how many times faster a tree is than separate sequences that also keep the loss positions only (what
the shared prompt alone saves); `ratio_to_full_logits` than separate sequences with logits at every position, which is
what `labels=` of transformers computes. Weights are random, nothing is downloaded, the optimizer's step is not in it.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from scotd.device import compute_dtype, keep_memory, machine, pick_device, versions
from scotd.forward import ATTENTION, attention_of, tree_loss
from scotd.tree import Branch, collate, pack

Question = tuple[list[int], list[Branch]]  # a prompt and its chains, in tokens
Loss = Callable[[Any, Sequence[Question]], Tensor]

VOCABULARY = 49_152
PAD = 0
TOLERANCE = 1e-6  # of the largest gradient; Llama normalises in float32 whatever its weights are, which leaves 1e-7


def model_of_the_shape(dtype: torch.dtype, layers: int) -> Any:
    """A Llama with SmolLM2-135M's sizes and random weights, the same on every call."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="sdpa", dtype=dtype).to(pick_device())


def questions_of(count: int, chains: int, prompt: int, chain: int) -> list[Question]:
    """Random tokens in the lengths of a real batch: prompts and chains vary by a third around their mean."""
    draw = random.Random(0)

    def tokens(mean: int) -> list[int]:
        return [draw.randrange(1, VOCABULARY) for _ in range(draw.randint(mean * 2 // 3, mean * 4 // 3))]

    return [(tokens(prompt), [Branch(tokens=tuple(tokens(chain))) for _ in range(chains)]) for _ in range(count)]


def tree(model: Any, questions: Sequence[Question]) -> Tensor:
    """One tree a question."""
    with attention_of(model, ATTENTION):
        return tree_loss(model, collate([pack(prompt, branches) for prompt, branches in questions]), plain_head=True)


def separate(model: Any, questions: Sequence[Question]) -> Tensor:
    """One row a chain, right-padded: a causal mask alone is exact then, and its fast path is taken. Loss positions."""
    sequences = [(prompt, branch.tokens) for prompt, branches in questions for branch in branches]
    tokens = torch.tensor(_padded([[*prompt, *chain] for prompt, chain in sequences], PAD))
    targets = torch.tensor(_padded([[-100] * len(prompt) + [*chain] for prompt, chain in sequences], -100))[:, 1:]
    states = model.get_decoder()(input_ids=tokens).last_hidden_state[:, :-1]
    logits = model.get_output_embeddings()(states[targets != -100])
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return torch.nn.functional.cross_entropy(wide, targets[targets != -100], reduction="sum")


def full_logits(model: Any, questions: Sequence[Question]) -> Tensor:
    """The same rows with logits at every position and the loss masked."""
    sequences = [(prompt, branch.tokens) for prompt, branches in questions for branch in branches]
    tokens = torch.tensor(_padded([[*prompt, *chain] for prompt, chain in sequences], PAD))
    labels = torch.tensor(_padded([[-100] * len(prompt) + [*chain] for prompt, chain in sequences], -100))
    logits = model(input_ids=tokens).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def _padded(rows: Sequence[list[int]], fill: int) -> list[list[int]]:
    longest = max(map(len, rows))
    return [row + [fill] * (longest - len(row)) for row in rows]


def largest_difference(questions: Sequence[Question]) -> float:
    """Of loss and all gradients between `tree` and `separate` in float64, as a share of the largest gradient."""
    model = model_of_the_shape(torch.float64, layers=4)  # all layers are alike
    found: list[dict[str, Tensor]] = []
    losses = []
    for way in (tree, separate):
        model.zero_grad()
        loss = way(model, questions)
        loss.backward()
        losses.append(loss.item())
        found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    scale = max(gradient.abs().max().item() for gradient in found[1].values())
    worst = max((found[0][name] - found[1][name]).abs().max().item() for name in found[1])
    assert scale > 0, "no gradient: the comparison would hold for anything"
    return max(worst / scale, abs(losses[0] - losses[1]) / abs(losses[1]))


def medians(ways: Sequence[Loss], questions: Sequence[Question], layers: int, rounds: int) -> dict[str, float]:
    """Median seconds of forward and backward by way; they take turns, so that a busy machine is busy for all."""
    dtype = compute_dtype("auto", pick_device())
    model = model_of_the_shape(torch.float32, layers)
    seconds: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for number in range(rounds + 1):  # the first one warms up
        for way in ways:
            model.zero_grad()
            started = time.perf_counter()
            with torch.autocast(pick_device().type, dtype) if dtype != torch.float32 else nullcontext():
                loss = way(model, questions)
            loss.backward()
            if number > 0:
                seconds[way.__name__].append(time.perf_counter() - started)
    return {name: round(statistics.median(times), 3) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--chains", type=int, default=8, help="a question")
    parser.add_argument("--prompt", type=int, default=40, help="mean tokens of a prompt")
    parser.add_argument("--chain", type=int, default=45, help="mean tokens of a chain")
    parser.add_argument("--layers", type=int, default=30, help="SmolLM2-135M has 30")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if pick_device().type != "cpu":
        sys.exit("This benchmark was written for and checked on the CPU only.")
    keep_memory()
    difference = largest_difference(questions_of(2, 3, given.prompt, given.chain))
    if difference > TOLERANCE:
        sys.exit(f"Trees and separate sequences differ by {difference:.1e}: nothing was measured.")
    questions = questions_of(given.questions, given.chains, given.prompt, given.chain)
    found = medians((tree, separate, full_logits), questions, given.layers, given.rounds)
    line = {
        "name": "train_trees",
        "ratio": round(found["separate"] / found["tree"], 2),
        "ratio_to_full_logits": round(found["full_logits"] / found["tree"], 2),
        "medians": found,
        "rounds": given.rounds,
        "difference": difference,
        "shape": {key: vars(given)[key] for key in ("questions", "chains", "prompt", "chain", "layers")},
        "compute": str(compute_dtype("auto", pick_device())).removeprefix("torch."),
        "versions": versions(),
        "machine": machine(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
