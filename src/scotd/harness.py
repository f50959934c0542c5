"""A split of questions as a task of lm-evaluation-harness, so that others can check a student's accuracy.

    write_task(Path("task"), name="scotd_mine_scotd_test", asked=asked, params=params)

    lm_eval --model hf --model_args pretrained=STUDENT,dtype=float32 --tasks scotd_mine_scotd_test --include_path task

The folder may be passed on; whoever runs it needs scotd, whose parser reads the answers, and nothing else of ours. The
harness calls `dataset` for the questions, through a few lines beside the YAML, and `process_results` for each answer.
What it is made to do as scotd does: the student's own tokens of a prompt, greedy choices without the penalties that a
generation_config.json may ask for, the same cap on tokens, and a text that fills the cap is one that was cut off. The
harness keeps no reason for an end, so that tokens are counted again: a text spelt in another way than the tokenizer
would spell it may be counted short by some.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from scotd import __version__
from scotd.answers import version as parser_version
from scotd.corpus.jsonl import write_jsonl
from scotd.errors import ConfigError, DataError, ModelError
from scotd.evaluate import predict
from scotd.models import resolve
from scotd.tokens import Tokenizer, encode_prompt, load_tokenizer, spelt_prompt
from scotd.types import Choice, Completion, Decoding, Finish, Prediction, Prompt, Question, SamplingParams

QUESTIONS = "questions.jsonl"
_BESIDE = f'''"""The questions beside this file, for lm-evaluation-harness; written by `scotd student export-task`."""

from pathlib import Path

from scotd.harness import dataset


def questions(**settings):
    return dataset(Path(__file__).with_name("{QUESTIONS}"), **settings)
'''


def write_task(folder: Path, *, name: str, asked: Iterable[tuple[Question, Prompt]], params: SamplingParams) -> int:
    """Write the task `name` into a folder: its YAML, its questions, and the lines that tie them; returns how many.

    Only questions with a label are asked. `params` are those of a greedy decoding.
    """
    assert params.temperature == 0, params
    rows = [_row(question, prompt, params) for question, prompt in asked if question.gold is not None]
    if not rows:
        raise DataError(f"{name}: no question has a label, so that no accuracy can be checked.")
    write_jsonl(folder / QUESTIONS, rows)
    (folder / "questions.py").write_text(_BESIDE, encoding="utf-8")
    (folder / f"{name}.yaml").write_text(_yaml(name, params), encoding="utf-8")
    return len(rows)


def dataset(path: Path, *, parser: str, pretrained: str | None = None, **settings: Any) -> dict[str, Any]:
    """The questions as the harness wants them, their prompts spelt for the student `pretrained` (its --model_args).

    Raises DataError where they were exported for another parser, ModelError where the harness would give the student
    other tokens than scotd does.
    """
    from datasets import Dataset

    if parser != parser_version():
        raise DataError(
            f"{path}: exported for another version of scotd's parser than that of scotd {__version__}: install the "
            "version that the YAML names, or export the task again."
        )
    named = settings.get("tokenizer") or pretrained
    if not isinstance(named, str):
        raise ConfigError("--model_args names no student: pretrained=FOLDER, or an id of the hub.")
    tokenizer = _tokenizer(named)
    with path.open(encoding="utf-8") as lines:  # str.splitlines would also end one at U+2028, within a stem
        rows = [json.loads(line) for line in lines]
    for row in rows:
        prompt = Prompt.from_json(row.pop("prompt"))
        row["prompt"] = spelt_prompt(tokenizer, prompt)
        row["tokenizer"] = named
        if _tokens_of_the_harness(tokenizer, row["prompt"], settings.get("add_bos_token")) != encode_prompt(
            tokenizer, prompt
        ):
            raise ModelError(
                f"{named}: the harness would begin the prompts with other tokens than scotd does: "
                "give add_bos_token=False in --model_args."
            )
    return {"test": Dataset.from_list(rows)}


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Metrics of one answer, as the harness asks for them: whether it is right, and whether there is none."""
    found = read(doc, results[0])
    return {"acc": float(found.answer == doc["gold"]), "unparsed": float(found.answer is None)}


def read(doc: Mapping[str, Any], text: str) -> Prediction:
    """What scotd makes of a text that the harness got for a row of `dataset`."""
    question = Question(
        choices=tuple(Choice(**choice) for choice in doc["choices"]),
        **{name: doc[name] for name in ("id", "task", "split", "stem", "gold")},
    )
    params = SamplingParams(temperature=0, max_tokens=doc["max_tokens"])
    tokens = len(_tokenizer(doc["tokenizer"])(text, add_special_tokens=False)["input_ids"])
    finish = Finish.LENGTH if tokens >= params.max_tokens else Finish.STOP
    return predict(question, Decoding(sampling=params, votes=1), [Completion(text=text, finish=finish)])


def _row(question: Question, prompt: Prompt, params: SamplingParams) -> dict[str, object]:
    return {
        "id": question.id,
        "task": question.task,
        "split": question.split,
        "stem": question.stem,
        "choices": [asdict(choice) for choice in question.choices],
        "gold": question.gold,
        "prompt": prompt.to_json(),
        "max_tokens": params.max_tokens,
    }


def _yaml(name: str, params: SamplingParams) -> str:
    """The task's file. JSON is YAML; only the functions need its own tag."""
    generation = {
        "do_sample": False,
        "until": list(params.stop),
        "max_gen_toks": params.max_tokens,
        "repetition_penalty": 1.0,  # a student's generation_config.json may ask for one, and scotd asks for none
        "no_repeat_ngram_size": 0,
    }
    metrics = [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "unparsed", "aggregation": "mean", "higher_is_better": False},
    ]
    about = {"version": 1, "scotd": __version__, "parser": parser_version()}
    return f"""# Written by `scotd student export-task`. Run it with --include_path and this folder.
task: {json.dumps(name)}
custom_dataset: !function questions.questions
test_split: test
output_type: generate_until
doc_to_text: prompt
doc_to_target: gold
process_results: !function scotd.harness.process_results
num_fewshot: 0
generation_kwargs: {json.dumps(generation)}
metric_list: {json.dumps(metrics)}
metadata: {json.dumps(about)}
"""


def _tokens_of_the_harness(tokenizer: Tokenizer, text: str, add_bos_token: object) -> list[int]:
    """As its `hf` model encodes a prompt: special tokens unless the text begins with one, or they are unwanted."""
    begins = tokenizer.bos_token is not None and text.startswith(tokenizer.bos_token)
    special = not begins and add_bos_token is not False
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])


@cache
def _tokenizer(named: str) -> Tokenizer:
    return load_tokenizer(resolve(named))
