"""Writing chains: ours against transformers' `generate`, and for the teacher openvino-genai.

    python bench/decode.py --only vote           # SmolLM2-135M, questions answered by 30 votes each
    python bench/decode.py --only teacher        # Qwen2.5-Coder-1.5B, few-shot prompt of 700 tokens, 30 chains each

Equality comes first: in float32 the greedy tokens of both sides are the same, question by question. `generate` runs at
its users' best: left-padded batch, `num_return_sequences`, its own cache, bfloat16. Rates count the tokens of chains up
to their end token, which is what a user gets; a side that goes on computing for chains that have ended pays for it.
With the teacher it gets one question, whose 30 copies of the prompt take it minutes, and its rate is taken for that of
many. openvino-genai gets the questions one by one and all at once. It reads the same GGUF file and computes with its
4-bit weights, so its precision is not ours: it is shown beside, and is no part of the ratio.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from harness import Found, ask, emit, median, note, peak_gib, turns, worker

SCRIPT = str(Path(__file__))
BATCH = 240  # chains at once: the student's here, and all of generate's
MODELS = {"vote": "smollm2-135m-instruct", "teacher": "qwen2.5-coder-1.5b-instruct"}


def texts_of(kind: str, count: int) -> list[str]:
    """Questions of the shipped task: bare for the student, behind the exemplars for the teacher."""
    from scotd.config import PromptConfig, QuestionsConfig
    from scotd.prompts import Templates, student_prompt, teacher_prompt
    from scotd.tasks import load_questions
    from scotd.tasks.exemplars import load_exemplars

    templates = Templates.of(PromptConfig())
    questions = [one for one in load_questions(QuestionsConfig(task="feedback")) if one.split == "test"][:count]
    if kind == "vote":
        return [student_prompt(question, templates).text or "" for question in questions]
    exemplars = load_exemplars("feedback")
    return [teacher_prompt(question, exemplars, templates).text or "" for question in questions]


def loaded(spec: Any, dtype: str) -> Any:
    import torch

    from scotd.device import keep_memory, pick_device
    from scotd.models import resolve
    from scotd.student import load

    keep_memory()
    torch.manual_seed(0)
    stored: Any = "bfloat16" if spec["kind"] == "teacher" else "float32"
    return load(resolve(MODELS[spec["kind"]]), dtype=getattr(torch, dtype), device=pick_device(), stored=stored)


def encoded(model: Any, texts: list[str]) -> list[list[int]]:
    from scotd.tokens import encode_prompt
    from scotd.types import Prompt

    return [encode_prompt(model.tokenizer, Prompt(text=text)) for text in texts]


def ours(spec: Any) -> Found:
    from scotd.decode import Decoder
    from scotd.types import SamplingParams

    model = loaded(spec, spec["dtype"])
    decoder = Decoder(model.model, model.tokenizer)
    tokens = encoded(model, spec["prompts"])
    params = SamplingParams(temperature=spec["temperature"], max_tokens=spec["max_tokens"])
    started = time.perf_counter()
    decoder.share(tokens)
    each = max(1, spec["batch"] // spec["n"])
    texts, written = [], 0
    for start in range(0, len(tokens), each):
        some = tokens[start : start + each]
        for chains in decoder.complete(some, [list(range(spec["n"])) for _ in some], params):
            texts.append(chains[0].text)
            written += sum(chain.n_tokens or 0 for chain in chains)
    return {"seconds": time.perf_counter() - started, "tokens": written, "texts": texts, "peak_gib": peak_gib()}


def generate(spec: Any) -> Found:
    import torch

    model = loaded(spec, spec["dtype"])
    tokenizer: Any = model.tokenizer
    tokenizer.padding_side = "left"
    ends = model.model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
    sampling: dict[str, Any] = {"do_sample": False}
    if spec["temperature"] > 0:
        sampling = {"do_sample": True, "temperature": spec["temperature"], "top_k": 0, "top_p": 1.0}
        sampling["num_return_sequences"] = spec["n"]
    prompts = encoded(model, spec["prompts"][: spec["generate"]])
    started = time.perf_counter()
    each = max(1, BATCH // spec["n"])
    texts, written = [], 0
    for start in range(0, len(prompts), each):
        rows = prompts[start : start + each]
        longest = max(map(len, rows))
        ids = torch.tensor([[tokenizer.eos_token_id] * (longest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
        with torch.inference_mode():
            out = model.model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=spec["max_tokens"],
                repetition_penalty=1.0,
                pad_token_id=tokenizer.eos_token_id,
                **sampling,
            )
        for number, row in enumerate(out[:, longest:].tolist()):
            end = next((place for place, token in enumerate(row) if token in ends), len(row) - 1)
            written += end + 1
            if number % (len(out) // len(rows)) == 0:
                texts.append(tokenizer.decode(row[: end + 1], skip_special_tokens=True))
    return {"seconds": time.perf_counter() - started, "tokens": written, "texts": texts, "peak_gib": peak_gib()}


def openvino(spec: Any, *, at_once: bool = False) -> Found:
    import openvino_genai

    from scotd.models import resolve

    files = resolve(MODELS[spec["kind"]])
    pipeline: Any = openvino_genai.LLMPipeline(str(files.path), "CPU")
    config: Any = openvino_genai.GenerationConfig()
    config.do_sample, config.temperature, config.top_k, config.top_p = True, spec["temperature"], 2**31, 1.0
    config.num_return_sequences = spec["n"]
    config.max_new_tokens = spec["max_tokens"]
    config.apply_chat_template = False
    started = time.perf_counter()
    written = 0
    for prompts in [spec["prompts"]] if at_once else [[prompt] for prompt in spec["prompts"]]:
        found = pipeline.generate(prompts, config)
        written += found.perf_metrics.get_num_generated_tokens()
    return {"seconds": time.perf_counter() - started, "tokens": written, "texts": [], "peak_gib": peak_gib()}


SIDES: dict[str, Callable[[Any], Found]] = {
    "ours": ours,
    "generate": generate,
    "openvino": openvino,
    "openvino_at_once": partial(openvino, at_once=True),
}


def compare(kind: str, given: argparse.Namespace) -> None:
    from scotd.config import TeacherConfig

    name = {"vote": "decode_vote_30", "teacher": "teacher_few_shot_30"}[kind]
    count = given.questions or {"vote": 8, "teacher": 4}[kind]
    base: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "prompts": texts_of(kind, count),
        "max_tokens": 48 if kind == "vote" else 32,
        "generate": count if kind == "vote" else 1,
        "batch": given.batch or (BATCH if kind == "vote" else TeacherConfig.model_fields["batch_chains"].default),
    }
    note(f"{name}: equality first")
    greedy = {**base, "n": 1, "temperature": 0, "dtype": "float32", "prompts": base["prompts"][:2], "generate": 2}
    found = {side: ask(SCRIPT, side, greedy) for side in ("ours", "generate")}
    if found["ours"]["texts"] != found["generate"]["texts"]:
        sys.exit(f"Greedy chains differ: {found}. Nothing was measured.")
    many = given.rounds or {"vote": 3, "teacher": 1}[kind]
    sides = ["ours", "generate", *(["openvino", "openvino_at_once"] if kind == "teacher" else [])]
    temperature = 0.7 if kind == "vote" else 1.0
    rounds = turns(SCRIPT, sides, {**base, "n": 30, "temperature": temperature, "dtype": "bfloat16"}, many)
    for rows in rounds.values():
        for row in rows:
            row["rate"] = row["tokens"] / row["seconds"]
    rates = {side: round(median(rows, "rate"), 1) for side, rows in rounds.items()}
    emit(
        name,
        ratio=round(rates["ours"] / rates["generate"], 2),
        tokens_a_second=rates,
        peak_gib={side: median(rows, "peak_gib") for side, rows in rounds.items()},
        rounds=many,
        questions={"ours": count, "generate": base["generate"]},
        batch=base["batch"],
        equal="greedy chains in float32",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--side", choices=SIDES, help="be the worker of one side")
    parser.add_argument("--only", choices=["vote", "teacher"])
    parser.add_argument("--questions", type=int, help="how many; 8 with votes, 4 for the teacher")
    parser.add_argument("--batch", type=int, help="chains that ours writes at once; for the teacher its default")
    parser.add_argument("--rounds", type=int, help="3 with votes; 1 for the teacher, whose peer takes minutes")
    given = parser.parse_args()
    if given.side:
        worker(SIDES, given.side)
        return
    for kind in ("vote", "teacher"):
        if given.only in (None, kind):
            compare(kind, given)


if __name__ == "__main__":
    main()
