"""The files that `scotd init` writes: a commented experiment file, and exemplars of the right form to be replaced.

The experiment file is one template. `@training.epochs` in it is the default that `config.py` gives, so that the file
can not say another; `##` opens the remark on a line. A setting that stands behind "# " is at its default.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from scotd.clean import line
from scotd.cli.base import PLACEHOLDER
from scotd.cli.guess import Guess
from scotd.config import Experiment
from scotd.config_errors import section_of
from scotd.types import Question

REMARK_COLUMN = 42
_DEFAULT = re.compile(r"@([a-z_.]+)")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_ -]*[A-Za-z0-9_]|[A-Za-z]")
_WORDS_OF_YAML = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

HEAD = """\
# An experiment of scotd: a teacher's chains of thought, students trained on them, and how they answer.
#
#   scotd preview {file}         what teacher and student will read, and where the loss is taken
#   scotd run {file} --dry-run   what would be asked, trained and answered
#   scotd run {file}             all of it; the same command goes on where it was stopped
#
# A setting behind "# " is at its default: take the "# " away to change it. Paths are relative to this file.

name: {name} ## names the run folder, runs/{name}
# note: null ## what a reader of the report should know first
# run_folder: null ## another place for results than runs/NAME
# corpus: null ## file of chains, by default RUN_FOLDER/corpus.sqlite; several experiments may share one
# import_chains: null ## a Parquet file of chains, from `scotd corpus export`, to start from
"""

QUESTIONS = """
questions:
  task: {task} ## a name for your questions (built-in: anli, commonsenseqa, feedback, imdb, openbookqa, quarel, sst2)
  # path: null ## a built-in benchmark: the folder with its official files (without files, columns, labels)
  # hub: null ## instead of files: a dataset of the Hugging Face hub by its id, or a folder with one
  # hub_config: null ## the dataset's configuration, where it has several
  # hub_revision: null ## a commit of the dataset, so that it stays the same
  files: ## one file a split: .jsonl, .json, .csv, .tsv or .parquet, each also with .gz
{files}
{columns}
  # train: @questions.train ## the split that the teacher is asked about
  # dev: @questions.dev ## labelled questions on which checkpoints are picked; never a reported split
  # max_stem_words: @questions.max_stem_words ## longer stems are cut after so many words, and counted
  # limit: @questions.limit ## at most so many questions of a split, for instance {{train: 500}}
"""

REST = """
prompt:
  exemplars: {exemplars} ## 5 to 10 worked examples, yours or a built-in task's by its name
  # chat: @prompt.chat ## true: the teacher's prompt as turns of a chat, for chat models
  # student_chat: @prompt.student_chat ## true: the student's too, by its tokenizer's chat template
  # teacher: @prompt.teacher ## Jinja2 template of your own; null is the paper's form, see `scotd preview`
  # student: @prompt.student
  # target: @prompt.target ## what a student learns to write: rationale, then answer
  # label_target: @prompt.label_target ## what a label-only student learns to write

teacher:
  kind: @teacher.kind ## local: a model here; openai: any OpenAI-compatible server; imported: `scotd corpus import`
  model: @teacher.model ## a known name, a Hugging Face id, a folder, a GGUF file; or the server's name for it
  # name: @teacher.name ## what its chains are kept under; imported: the name that the import gave
  # base_url: @teacher.base_url ## openai: or http://127.0.0.1:8000/v1 of vLLM, ..., or a list
  # api_key_env: @teacher.api_key_env ## openai: variable with the key; null: OPENAI_API_KEY, and only to OpenAI
  # endpoint: @teacher.endpoint ## openai: chat, or completions for a model that continues texts
  # concurrency: @teacher.concurrency ## openai: most requests under way at once; how many is found out
  # requests_per_minute: @teacher.requests_per_minute ## openai: your account's limit
  # tokens_per_minute: @teacher.tokens_per_minute ## openai: your account's limit, of prompts and chains
  # timeout_seconds: @teacher.timeout_seconds ## openai
  # max_n: @teacher.max_n ## openai: most chains in one request; null finds out
  # logprobs: @teacher.logprobs ## openai: ask for log-probabilities where the server gives them
  # prices: @teacher.prices ## openai: dollars a million tokens, {{prompt: 0.15, completion: 0.6}}, for --dry-run
  # max_cost: @teacher.max_cost ## openai: dollars that are never crossed, over all sittings
  # batch_chains: @teacher.batch_chains ## local: chains written at once
  # device: @teacher.device ## local: cuda, cpu, ...; null takes the best there is
  # precision: @teacher.precision ## local: auto, bfloat16 or float32

sampling: ## of the teacher's chains; raise chains_per_question later, and only the missing ones are asked for
  chains_per_question: @sampling.chains_per_question ## N
  # temperature: @sampling.temperature
  # top_p: @sampling.top_p
  # top_k: @sampling.top_k ## 0 is all tokens
  # min_p: @sampling.min_p ## drops tokens less likely than this share of the most likely one; 0 drops none
  # max_tokens: @sampling.max_tokens ## a chain that reaches it is cut off
  # stop: @sampling.stop ## list of texts that end a chain; null goes by the prompt's form
  # seed: @sampling.seed

student: @student ## the model that every student starts from: known name, Hugging Face id, folder, GGUF
students: ## each trained and measured; names are yours
  scotd:
    target: scotd ## rationale and answer of all selected chains (greedy-cot: of the teacher's greedy one)
{scotd}
    # filter: null ## fewer of them, for instance {{name: random, budget: 5}}: also diversity, shortest, ...
    # exemplars: 0 ## so many before each of its questions, in training and when it answers
    # chains_per_question: null ## only the first so many
    # share: 1.0 ## of the training questions
    # model: null ## another model than `student` above
    # training: {{}} ## training settings of this student's own, for instance {{epochs: 3}}
    # max_tokens: null ## its own cap on the tokens of an answer
    # decodings: null ## only these of evaluation.decodings, for instance [greedy]
    # sweep: {{}} ## a student for each value, for instance {{chains_per_question: [1, 5, 30]}}
  label-only:
    target: label-only ## the answer alone: what is the reasoning worth?
{label_only}
    max_tokens: 16
  undistilled:
    target: undistilled ## not trained, asked with the teacher's prompt (teacher: the teacher itself answers)
    # rationales: true ## false: its exemplars show answers alone (No CoT)
# train_on: [] ## other tasks to train on, with `questions` as an unseen one
# seeds: [] ## every trained student once with each, for instance [0, 1, 2]
# engine: @engine ## what writes the chains of models that run here; ray: workers on one machine or many
# ray: ## those workers
  # address: @ray.address ## auto or HOST:PORT of a cluster; null starts Ray here
  # workers: @ray.workers ## null is one a GPU, or without any one a machine
  # cpus: @ray.cpus ## cores of a worker; null shares out the machine's
  # gpus: @ray.gpus ## of a worker; null is 1 where there are any
  # writer: @ray.writer ## in a worker: scotd, vllm, or auto, which takes vLLM where it is installed beside a GPU

training:
  # epochs: @training.epochs ## an epoch visits every chain once
  learning_rate: 1.0e-4 ## suits students of 100 to 400 million parameters; the paper's 2.0e-5 one of 1.3 billion
  # batch_chains: @training.batch_chains ## chains in one optimizer step
  # branches_per_row: @training.branches_per_row ## of a question, in one step; more are faster and teach less a visit
  # warmup_ratio: @training.warmup_ratio ## share of the steps
  # weight_decay: @training.weight_decay
  # max_grad_norm: @training.max_grad_norm
  # schedule: @training.schedule ## or cosine, constant_with_warmup
  # max_length: @training.max_length ## tokens of question and chain; longer chains are left out and counted
  # precision: @training.precision ## auto, bfloat16 or float32 (weights are float32 always)
  # lora: null ## low-rank adapters instead of full fine-tuning, for instance {{rank: 16}}
  # accumulation: @training.accumulation ## parts that a step is computed in, to save memory
  # activation_checkpointing: @training.activation_checkpointing ## computes twice, to save memory
  # compile: @training.compile ## layers through torch.compile: needs a C++ compiler, or Triton on a GPU
  # evaluations: @training.evaluations ## on the dev split, where there is one: the best checkpoint stays
  # checkpoints: @training.checkpoints ## to resume from, where there is no dev split
  # keep_weights: @training.keep_weights ## false: deleted when everything is answered
  # seed: @training.seed
  # report_to: @training.report_to ## for instance [wandb], [tensorboard]

evaluation:
  splits: [test]
  decodings: ## ways of answering; the paper's vote is `vote: {{votes: 30, temperature: 0.7}}`
    greedy:
      # votes: 1 ## above 1: sample so many chains, the majority answers
      # temperature: 0.0
      # top_p: 1.0
      # top_k: 0
      # min_p: 0.0
      # splits: null ## only these, for instance [test]
  # max_tokens: @evaluation.max_tokens
  # batch_chains: @evaluation.batch_chains ## chains written at once
  baseline: label-only ## the student that the others are tested against (exact McNemar)
  # confidence: @evaluation.confidence ## of the intervals
  # seed: @evaluation.seed

# published: {{}} ## results of others, for the report to set these beside: docs/configuration.md
# scales: {{}} ## for --scale NAME, for instance {{small: {{sampling.chains_per_question: 4}}}}
"""

EXEMPLARS = """\
# Exemplars: worked examples that the teacher imitates. Put 5 to 10 of your own here, as varied as your questions are,
# with the reasoning in the length and style that you want from the student. Exemplars are taken out of the training
# questions, and none may stand in an evaluated split.
# stem: the question as the models will see it. choices: {A: ..., B: ...} for lettered choices, [yes, no] for words.
"""


def experiment_text(
    *, file: str, name: str, task: str, files: Sequence[tuple[str, str, str]], exemplars: str, guess: Guess | None
) -> str:
    """The experiment file. `files` are (split, path, remark); `guess` comes from the user's data, if there is any."""
    labelled = guess is None or guess.answer is not None
    scotd = (
        "    # selection: correct ## keeps the chains that answer right; all; majority: those that agree with the vote"
    )
    label_only = "    # labels: gold ## or teacher: the vote over its chains, where questions have no label"
    if not labelled:
        scotd = (
            "    selection: majority ## no answer column: chains that agree with the vote (correct needs labels; all)"
        )
        label_only = "    labels: teacher ## no answer column: the vote over its chains (gold needs labels)"
    else:
        scotd += "\n    # labels: gold ## label-only students: gold or teacher"
    text = _filled(HEAD).format(file=scalar(file), name=scalar(name))
    text += _filled(QUESTIONS).format(
        task=scalar(task),
        files="\n".join(
            f"    {scalar(split)}: {scalar(path)}" + (f" ## {remark}" if remark else "")
            for split, path, remark in files
        ),
        columns=_columns(guess),
    )
    text += _filled(REST).format(exemplars=scalar(exemplars), scotd=scotd, label_only=label_only)
    return "\n".join(map(_set_off, text.split("\n")))


def exemplars_text(questions: Sequence[Question]) -> str:
    """Two worked examples: the first labelled questions of the user's own, where there are any, else general ones."""
    items = [_exemplar(question) for question in _examples(questions)]
    return EXEMPLARS + "".join(items or [_item(*item) for item in _GENERAL])


_GENERAL = [
    (
        "What do people usually put on bread?",
        "{A: butter, B: gravel, C: ink}",
        "A",
        f"{PLACEHOLDER}. Bread is food, so what goes on it is eaten too. Of the choices only butter is eaten on bread.",
    ),
    (
        "Where would you look for a book to borrow?",
        "{A: a bank, B: a bakery, C: a library}",
        "C",
        f"{PLACEHOLDER}. A bank keeps money and a bakery sells bread. Books are lent by a library.",
    ),
]


def scalar(value: object) -> str:
    """A value in YAML: plain where that is safe, else in double quotes."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.casefold() not in _WORDS_OF_YAML:
        return value
    if (
        isinstance(value, str)
        and re.fullmatch(r"[\w./-]*\w", value, re.ASCII)
        and re.match(r"\.{0,2}/|[A-Za-z]", value)
    ):
        return value if value.casefold() not in _WORDS_OF_YAML else json.dumps(value)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(scalar, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str).replace(" ## ", " \\u0023# ")


def _columns(guess: Guess | None) -> str:
    if guess is None:
        return """\
  columns: ## which column holds what
    question: question ## or a text with columns in braces: "{remark} Was the guest pleased with {aspect}?"
    choices: [a, b, c] ## columns with a choice each, or one column that holds a list; leave out with `labels`
    answer: answer ## a label (A), a choice's text, or empty where it is not known; leave out without labels
    # id: null ## a column with names that last; null makes them from the question's content
    # pair: null ## contrast sets: the id of the question that this one is a small change of
    # separator: "|" ## what parts the choices where one column holds them as text
  # labels: null ## the same answers for every question, for instance [positive, negative]"""
    seen = f"a guess, from the columns {line(', '.join(guess.columns)).replace(' ## ', ' ')}"
    question = guess.question or "question"
    lines = [f"  columns: ## {seen}: see that it is right"]
    remark = "guess" if guess.question else "no column looked like a question: name it"
    lines.append(
        f'    question: {scalar(question)} ## {remark}; or a text with columns in braces: "{{a}} Is {{b}} right?"'
    )
    if guess.choices is not None:
        lines.append(f"    choices: {scalar(guess.choices)} ## guess: the choices")
    else:
        lines.append("    # choices: null ## column or columns with the choices, where questions differ in them")
    if guess.answer is not None:
        lines.append(f"    answer: {scalar(guess.answer)} ## guess: a label, a choice's text, or empty where not known")
    else:
        lines.append("    # answer: null ## no column looked like an answer: the questions count as unlabelled")
    lines.append(_optional("id", guess.id, "a column with names that last; null makes them from the content"))
    lines.append(_optional("pair", guess.pair, "contrast sets: the id of the question that this one changes"))
    parted = "what parts the choices where one column holds them as text"
    if guess.separator == "|":
        lines.append(f'    # separator: "|" ## {parted}')
    else:
        lines.append(f"    separator: {json.dumps(guess.separator)} ## guess: {parted}")
    if guess.labels is not None:
        kind = "the answers that every question has" if guess.choices is None else "names of the choices, in order"
        lines.append(f"  labels: {scalar(guess.labels)} ## guess: {kind}")
    elif guess.choices is None:
        lines.append('  labels: ["yes", "no"] ## no column looked like choices: the answers that every question has')
    else:
        lines.append("  # labels: null ## the same answers for every question, for instance [positive, negative]")
    return "\n".join(lines)


def _optional(key: str, value: str | None, remark: str) -> str:
    return f"    # {key}: null ## {remark}" if value is None else f"    {key}: {scalar(value)} ## guess: {remark}"


def _examples(questions: Sequence[Question]) -> list[Question]:
    """Two labelled questions, of different answers where there are such."""
    labelled = [question for question in questions if question.gold is not None]
    if len(labelled) < 2:
        return []
    other = next((question for question in labelled if question.gold != labelled[0].gold), labelled[1])
    return [labelled[0], other]


def _exemplar(question: Question) -> str:
    assert question.gold is not None
    if question.has_label_set:
        choices = scalar([choice.label for choice in question.choices])
    else:
        choices = "{" + ", ".join(f"{scalar(c.label)}: {scalar(c.text)}" for c in question.choices) + "}"
    rationale = f"{PLACEHOLDER} by one to three sentences that lead from the question to the answer."
    return _item(question.stem, choices, question.gold, rationale)


def _item(stem: str, choices: str, answer: str, rationale: str) -> str:
    shown = json.dumps(stem, ensure_ascii=False)
    return f"- stem: {shown}\n  choices: {choices}\n  answer: {scalar(answer)}\n  rationale: >-\n    {rationale}\n"


def _filled(template: str) -> str:
    """Put the defaults in, for `format` to go over."""
    return _DEFAULT.sub(lambda match: scalar(default(match[1])).replace("{", "{{").replace("}", "}}"), template)


def _set_off(text: str) -> str:
    """Move the remark of a line to its column."""
    code, mark, remark = text.partition(" ## ")
    return f"{code.ljust(REMARK_COLUMN)}  # {remark}" if mark else text


def default(path: str) -> Any:
    """The default of a setting, by its path in the experiment file."""
    current: Any = Experiment
    *parents, last = path.split(".")
    for part in parents:
        current = section_of(current.model_fields[part].annotation)
    return current.model_fields[last].get_default(call_default_factory=True)
