"""One YAML file describes an experiment. It is validated before anything runs; unknown keys are refused.

YAML 1.2 is read (`no` is a word, `1e-4` is a number). Paths in the file are relative to the file. `--set a.b=value` is
applied before validation, so that it obeys the same rules.
"""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from scotd.config_errors import section_of, sentence
from scotd.errors import ConfigError, did_you_mean
from scotd.sweep import SEED, at, called, expand, put
from scotd.types import Need, Target

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")

S = TypeVar("S", bound=BaseModel)
Fraction = Annotated[float, Field(gt=0, le=1)]
Whole = Annotated[int, Field(strict=True)]  # `true` is no number
Count = Annotated[Whole, Field(ge=1)]
Stop = Annotated[str, Field(min_length=1)]  # an empty one would end every chain at once


class Section(BaseModel):
    """Base of every section: immutable, closed. A section whose lines are all commented out is one of defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        filled = dict(raw)
        for name, value in raw.items():
            field = cls.model_fields.get(name) if isinstance(name, str) else None
            section = None if field is None else section_of(field.annotation)
            if field is None or section is None:
                continue
            if value is None and field.annotation is section:
                filled[name] = {}
            elif isinstance(value, dict) and get_origin(field.annotation) is dict:
                filled[name] = {key: {} if one is None else one for key, one in value.items()}
        return filled


class ColumnsConfig(Section):
    """Which columns of your own file hold what.

    `question` is a column's name, or a text with columns in braces: "{remark} Was the guest pleased with {aspect}?".
    `choices` is a list of columns, or one column that holds a list (a JSON or Parquet list, or text parted by
    `separator`). With a fixed label set leave it out and give `questions.labels`. `answer` may hold a label, the
    choice's text, or be empty for an unlabelled question; leave it out where no question has one. Without `id` the
    identity is made from the question's content.
    """

    question: str
    choices: str | tuple[str, ...] | None = None
    answer: str | None = None
    id: str | None = None
    pair: str | None = None
    separator: str = "|"


class QuestionsConfig(Section):
    """Where the questions come from: a task by name, or with a column mapping your own files or a dataset of the hub.

    `hub` is the id of a dataset on the Hugging Face hub, or a folder with one.
    """

    task: str = "mine"
    path: Path | None = None
    files: Annotated[dict[str, Path], Field(min_length=1)] | None = None
    hub: Annotated[str, Field(min_length=1)] | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    columns: ColumnsConfig | None = None
    labels: tuple[str, ...] | None = None
    max_stem_words: Count | None = None
    train: str = "train"
    dev: str | None = "dev"
    limit: dict[str, Count] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _own_files_need_columns(self) -> "QuestionsConfig":
        for split in self.files or ():
            check_plain(split, "files")
        if self.files is not None and self.hub is not None:
            raise ValueError("`files` and `hub` are two places for the questions: leave one of them out")
        if self.files is not None and self.columns is None:
            raise ValueError("`files` needs `columns`: say which column holds the question")
        if self.hub is not None and self.columns is None:
            raise ValueError("`hub` needs `columns`: say which column holds the question")
        for name, value in (("hub_config", self.hub_config), ("hub_revision", self.hub_revision)):
            if value is not None and self.hub is None:
                raise ValueError(f"`{name}` needs `hub`: name the dataset")
        if self.columns is not None and self.files is None and self.hub is None:
            raise ValueError("`columns` needs `files` or `hub`: say which file holds each split, or name a dataset")
        if self.columns is not None and self.columns.choices is None and self.labels is None:
            raise ValueError("give `columns.choices`, or `labels` where every question has the same answers")
        return self


class PromptConfig(Section):
    """Templates (Jinja2, sandboxed) and the exemplars. None stands for the paper's form, see `prompts.py`."""

    exemplars: str | Path | None = None
    teacher: str | None = None
    student: str | None = None
    target: str | None = None
    label_target: str | None = None
    chat: bool = False
    student_chat: bool = False


class SamplingConfig(Section):
    """How chains are drawn from the teacher (paper 2: N = 30, temperature 1)."""

    chains_per_question: Count = 30
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Fraction = 1.0
    top_k: Annotated[Whole, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_tokens: Count = 128
    stop: tuple[Stop, ...] | None = None
    seed: Whole = 0

    @model_validator(mode="after")
    def _greedy_chains_are_equal(self) -> "SamplingConfig":
        if self.temperature == 0 and self.chains_per_question > 1:
            raise ValueError(
                f"`temperature` 0 gives the same chain {self.chains_per_question} times: raise it, "
                "or set `chains_per_question` to 1"
            )
        return self


class PricesConfig(Section):
    """What a server takes: US dollars a million tokens."""

    prompt: Annotated[float, Field(ge=0)]
    completion: Annotated[float, Field(ge=0)]


class TeacherConfig(Section):
    """`local` runs a model here through transformers; `openai` asks any OpenAI-compatible endpoint; `imported` asks
    nobody: its chains are in the corpus already, under the `name` that their import gave them.

    `api_key_env` names the environment variable that holds the key. None stands for OPENAI_API_KEY at api.openai.com,
    and for no key anywhere else: whoever changes only `base_url` sends no key to a stranger. `base_url` may list
    several servers of the same model; `concurrency` and the limits a minute hold at each of them.
    """

    kind: Literal["local", "openai", "imported"] = "local"
    model: str = "qwen2.5-coder-1.5b-instruct"
    name: str | None = None
    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] = "https://api.openai.com/v1"
    api_key_env: str | None = None
    endpoint: Literal["completions", "chat"] = "chat"
    concurrency: Count = 64
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    max_n: Count | None = None
    logprobs: bool = True
    prices: PricesConfig | None = None
    max_cost: Annotated[float, Field(gt=0)] | None = None
    batch_chains: Count = 128
    device: str | None = None
    precision: Literal["auto", "bfloat16", "float32"] = "auto"

    @model_validator(mode="after")
    def _imported_chains_have_a_name(self) -> "TeacherConfig":
        if self.kind == "imported" and self.name is None:
            raise ValueError("an imported teacher needs `name`: the one its chains were imported under")
        return self

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The servers' addresses, one or more."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @field_validator("base_url")
    @classmethod
    def _each_server_once(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not isinstance(value, str) and len(set(value)) < len(value):
            raise ValueError("a server is named twice")
        return value

    @field_serializer("base_url")
    def _without_secrets(self, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """What is written down, in run folders and corpora, holds no password and no token of an address."""
        return bare_address(value) if isinstance(value, str) else tuple(map(bare_address, value))


class RayConfig(Section):
    """Where `engine: ray` finds its workers, and what each of them gets.

    Without `address` Ray is started on this machine for the time of the run. None stands for one worker for each GPU
    of the cluster, or where it has none one for each machine with all of its cores. `writer` is what writes chains in
    a worker: `auto` is vLLM where it is installed and this machine has a GPU, else scotd's own engine.
    """

    address: Annotated[str, Field(min_length=1)] | None = None
    workers: Count | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    writer: Literal["auto", "scotd", "vllm"] = "auto"


class LoraConfig(Section):
    """Low-rank adapters instead of full fine-tuning, merged into the weights in the end (dropout 0).

    `alpha` / `rank` scales them; `layers` are names of linear layers, None for all but the head.
    """

    rank: Count = 16
    alpha: Count = 32
    layers: Annotated[tuple[str, ...], Field(min_length=1)] | None = None


# Settings of `training` that decide nothing about the weights.
INDIFFERENT = frozenset({"checkpoints", "report_to", "activation_checkpointing", "keep_weights"})


class TrainingConfig(Section):
    """Training (paper 2: batch 32, learning rate 2e-5). The batch counts chains. Dropout is 0, a stated deviation."""

    epochs: Count = 1
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    batch_chains: Count = 32
    branches_per_row: Count = 2
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    max_length: Count = 1024
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    lora: LoraConfig | None = None
    accumulation: Count = 1
    activation_checkpointing: bool = False
    compile: bool = False
    evaluations: Annotated[Whole, Field(ge=0)] = 4
    checkpoints: Annotated[Whole, Field(ge=0)] = 4
    keep_weights: bool = True
    seed: Whole = 0
    report_to: tuple[str, ...] = ()


class FilterConfig(Section):
    """Which chains of a selection stay within a budget (paper 4): `budget` is the average over the questions.

    `name` is one of random, diversity, teacher-likelihood, open-ended, shortest, longest, student-perplexity,
    student-gain, or a function of your own `file`, which may `need` what a model computes of each chain. `model` embeds
    where vectors are needed (None: all-minilm-l6-v2), or is the student that perplexity and gain ask (None: the one
    that is trained).
    """

    name: str = "random"
    budget: Count = 5
    seed: Whole = 0
    file: Path | None = None
    need: Need | None = None
    model: str | None = None

    @model_validator(mode="after")
    def _need_is_of_a_file(self) -> "FilterConfig":
        if self.need is not None and self.file is None:
            raise ValueError("`need` is for a filter of your own: give its `file`, or leave `need` out")
        return self


class StudentConfig(Section):
    """One student of the experiment: what it is trained on. Fields left out are taken from the experiment.

    `chains_per_question` takes the first so many of each question's chains, `share` so large a part of the training
    questions: smaller ones are parts of larger ones. `filter` comes after both and after the selection. Without
    `rationales` the exemplars of an undistilled student or the teacher show answers alone (No CoT). `sweep` makes a
    student of every combination of its values ("training.learning_rate: [1e-5, 1e-4]"); each of them has the `row` it
    comes from and its place `at` each axis. `exemplars` is how many of them a trained student sees before each
    question, in training and when it answers (paper 3.5); one that was never trained, or the teacher, sees the first so
    many, by default all.
    """

    target: Target
    selection: Literal["correct", "all", "majority"] = "correct"
    filter: FilterConfig | None = None
    exemplars: Annotated[Whole, Field(ge=0)] = 0
    chains_per_question: Count | None = None
    share: Fraction = 1.0
    rationales: bool = True
    labels: Literal["gold", "teacher"] = "gold"
    model: str | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    max_tokens: Count | None = None
    decodings: tuple[str, ...] | None = None
    sweep: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(default_factory=dict)
    row: str | None = None
    at: dict[str, Any] = Field(default_factory=dict)


class DecodingConfig(Section):
    """One way of answering. `votes` 1 at temperature 0 is greedy; self-consistency is 30 votes at 0.7 in the paper."""

    votes: Count = 1
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Fraction = 1.0
    top_k: Annotated[Whole, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, lt=1)] = 0.0
    splits: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _votes_need_sampling(self) -> "DecodingConfig":
        if (self.votes > 1) != (self.temperature > 0):
            raise ValueError("`votes` above 1 go with a `temperature` above 0, greedy decoding with 1 vote at 0")
        return self


class EvaluationConfig(Section):
    """Which splits are answered, how, and against which student the others are tested (exact McNemar)."""

    splits: tuple[str, ...] = ("test",)
    decodings: Annotated[dict[str, DecodingConfig], Field(min_length=1)] = Field(
        default_factory=lambda: {"greedy": DecodingConfig()}
    )
    max_tokens: Count = 128
    batch_chains: Count = 256
    baseline: str | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Whole = 0


class PublishedResult(Section):
    """One published accuracy, and the row of this file that it is set beside.

    `what` and `where` say what it is and where it stands ("Table 2b"), `value` is in percent. `at` and `decoding` name
    the place of a swept row and a way of answering; without them every one of the row is set beside it.
    """

    what: str
    where: str
    row: str
    value: Annotated[float, Field(ge=0, le=100)]
    split: str = "test"
    at: dict[str, Any] = Field(default_factory=dict)
    decoding: str | None = None
    note: str | None = None


class PublishedConfig(Section):
    """What others published, for the report to set our numbers beside.

    `setup` holds their settings by key path, as far as they are known; the report says where a run's own, or those of
    a student of it, are others. `differences` in set-up that no setting tells are sentences.
    """

    results: tuple[PublishedResult, ...] = ()
    setup: dict[str, Any] = Field(default_factory=dict)
    differences: tuple[str, ...] = ()


class Experiment(Section):
    """The whole file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    note: str | None = None
    run_folder: Path | None = None
    corpus: Path | None = None
    import_chains: Path | None = None
    questions: QuestionsConfig
    train_on: tuple[QuestionsConfig, ...] = ()
    prompt: PromptConfig = PromptConfig()
    teacher: TeacherConfig = TeacherConfig()
    sampling: SamplingConfig = SamplingConfig()
    student: str = "smollm2-135m-instruct"
    students: Annotated[dict[str, StudentConfig], Field(min_length=1)]
    seeds: tuple[Whole, ...] = ()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    engine: Literal["local", "ray"] = "local"
    ray: RayConfig = RayConfig()
    published: PublishedConfig = PublishedConfig()
    scales: dict[str, dict[str, Any]] = Field(default_factory=dict)
    scale: str | None = None

    @model_validator(mode="after")
    def _names_resolve(self) -> "Experiment":
        for kind, names in (("students", self.students), ("evaluation.decodings", self.evaluation.decodings)):
            for name in names:
                check_plain(name, kind)
        for name, student in self.students.items():
            if student.filter is not None and student.target is not Target.SCOTD:
                raise ValueError(
                    f"students.{name}.filter chooses among several chains a question, and {student.target} students "
                    f"learn none or one: leave it out"
                )
            if not student.rationales and student.target.trained:
                raise ValueError(
                    f"students.{name}.rationales is about the exemplars of a few-shot prompt, and a trained student "
                    f"sees none: leave it out"
                )
            if student.target is Target.TEACHER and self.teacher.kind == "imported":
                raise ValueError(f"students.{name}: an imported teacher cannot be asked to answer: leave it out")
            if (student.chains_per_question or 0) > self.sampling.chains_per_question:
                raise ValueError(
                    f"students.{name}.chains_per_question is {student.chains_per_question} and only "
                    f"{self.sampling.chains_per_question} are sampled: raise sampling.chains_per_question"
                )
            for decoding in student.decodings or ():
                if decoding not in self.evaluation.decodings:
                    known = did_you_mean(decoding, self.evaluation.decodings)
                    raise ValueError(f"students.{name}.decodings names no decoding: '{decoding}'.{known}")
        return self

    @model_validator(mode="after")
    def _published_names_resolve(self) -> "Experiment":
        rows = self.rows()
        for number, result in enumerate(self.published.results, start=1):
            if result.row not in rows:
                known = did_you_mean(result.row, rows)
                raise ValueError(f"published.results, item {number}, names no row of students: '{result.row}'.{known}")
            if result.decoding not in (None, *self.evaluation.decodings):
                known = did_you_mean(str(result.decoding), self.evaluation.decodings)
                raise ValueError(f"published.results, item {number}, names no decoding: '{result.decoding}'.{known}")
        for key in self.published.setup:
            try:
                found = self.settings_at(key)
            except ConfigError as error:
                raise ValueError(f"published.setup, {error}") from None
            if any(isinstance(one, dict) for one in found):
                raise ValueError(f"published.setup: '{key}' is a section: name its settings one by one")
        return self

    def settings_at(self, key: str) -> list[Any]:
        """What stands at a key path, as JSON has it: of `training` and `student` what each trained student has, each
        value once. Raises ConfigError for a path that leads nowhere."""
        section, _, rest = key.partition(".")
        trained = {name: one for name, one in self.students.items() if one.target.trained}
        if section == "training" and rest and trained:
            every = [at(self.training_of(name).model_dump(mode="json"), rest, key) for name in trained]
        elif key == "student" and trained:
            every = [one.model or self.student for one in trained.values()]
        else:
            every = [at(self.model_dump(mode="json"), key, key)]
        return [one for number, one in enumerate(every) if one not in every[:number]]

    def rows(self) -> set[str]:
        """Names of the rows of `students`: those of the students, with a sweep's once."""
        return {student.row or name for name, student in self.students.items()}

    def arm_of(self, student: str) -> str:
        """What a student and its other seeds have in common of their name."""
        one = self.students[student]
        return called(one.row or student, {axis: value for axis, value in one.at.items() if axis != SEED})

    def baselines(self) -> set[str]:
        """What may be the baseline: a row, or one of a sweep's students with all its seeds."""
        return self.rows() | {self.arm_of(name) for name in self.students}

    def baseline_cells(self) -> dict[str, StudentConfig]:
        """The students that the others are tested against, by name: a row's, or those of one place of a sweep."""
        baseline = self.evaluation.baseline
        whole_row = baseline in self.rows()
        return {
            name: one
            for name, one in self.students.items()
            if baseline == ((one.row or name) if whole_row else self.arm_of(name))
        }

    def baseline_of(self, student: str) -> str | None:
        """The student that another is tested against: of the baseline's cells the one at the same place on every axis
        that both have. None for the baseline's own cells, and where no cell or more than one stands there."""
        fitting = self.baselines_of(student)
        return fitting[0] if len(fitting) == 1 else None

    def baselines_of(self, student: str) -> tuple[str, ...]:
        """All of the baseline's cells at the same place on every axis that both have: several for a student without a
        seed, where the baseline has seeds. Empty for the baseline's own cells. A baseline that is one place of a sweep
        is what every place is tested against, seed by seed."""
        cells = self.baseline_cells()
        if student in cells:
            return ()
        whole_row = self.evaluation.baseline in self.rows()
        here = {axis: value for axis, value in self.students[student].at.items() if whole_row or axis == SEED}
        return tuple(
            name for name, one in cells.items() if all(here.get(axis, value) == value for axis, value in one.at.items())
        )

    def training_of(self, student: str) -> TrainingConfig:
        """Training settings of one student: the experiment's with the student's own on top."""
        merged = {**self.training.model_dump(), **self.students[student].training}
        return _validated(TrainingConfig, merged, f"students.{student}.training")


def portable(value: Any) -> Any:
    """A configuration, as `model_dump` gives it, for what may be passed on: of every path only the last part, also of
    absolute ones that stand as text (a folder of a model, an exemplar file, a value of `scales`)."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, dict):
        return {key: portable(held) for key, held in value.items()}
    if isinstance(value, str) and "\n" not in value:
        for path in (PurePosixPath(value), PureWindowsPath(value)):
            if path.is_absolute() and len(path.parts) > 2:  # not a stop sequence that begins with a slash
                return path.name
    return [portable(held) for held in value] if isinstance(value, (list, tuple)) else value


def bare_address(address: str) -> str:
    """A web address without user name, password and query: any of them may be a secret."""
    return re.sub(r"(//)[^/?#]*@|[?#].*", r"\1", address)


def check_plain(name: str, kind: str) -> None:
    """Splits, students and decodings are parts of file names that are taken apart again."""
    if not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{kind}: '{name}' becomes part of a file name: use letters, digits, _ and - only")


def load(path: Path, overrides: Sequence[str] = (), scale: str | None = None) -> Experiment:
    """Read and validate an experiment file. Raises ConfigError with one sentence for everything that is wrong.

    `scale` names one of the file's `scales`: its settings replace the file's own before `overrides` are applied, and
    the experiment is called NAME-SCALE, so that its results stand apart.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else "a list" if isinstance(raw, list) else "one value"
        raise ConfigError(f"{path}: expected settings (key: value), found {found}. `scotd init` writes a file of them.")
    if scale is not None:
        _apply_scale(raw, scale, path)
    for override in overrides:
        _apply(raw, override)
    experiment = _validated(Experiment, raw, str(path))
    try:
        if experiment.seeds or any(student.sweep for student in experiment.students.values()):
            trained = {name: student.target.trained for name, student in experiment.students.items()}
            experiment = _validated(Experiment, expand(raw, trained), "a cell of its sweep")
        baseline = experiment.evaluation.baseline
        if baseline is not None and baseline not in experiment.baselines():
            if baseline in experiment.students:
                every = experiment.arm_of(baseline)
                raise ConfigError(f"evaluation.baseline names one seed, '{baseline}': name all of them, '{every}'.")
            known = did_you_mean(baseline, experiment.baselines())
            raise ConfigError(f"evaluation.baseline names no student: '{baseline}'.{known}")
        for name in experiment.students:
            experiment.training_of(name)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return _absolute(experiment, path.resolve().parent)


def read_yaml(path: Path) -> Any:
    """Parse one YAML 1.2 document. Raises ConfigError naming file, line and problem."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. `scotd init` writes one to start from.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error}).") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML 1.2 text; `where` names it in the error."""
    try:
        return YAML(typ="safe", pure=True).load(StringIO(text))
    except RecursionError:
        raise ConfigError(f"{where}: not valid YAML: nested too deeply.") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{where}{line}: not valid YAML: {problem}.") from None


def _apply_scale(raw: dict[str, Any], scale: str, path: Path) -> None:
    scales = raw.get("scales")
    if not isinstance(scales, dict) or not isinstance(scales.get(scale), dict):
        known = [str(name) for name in scales] if isinstance(scales, dict) else []
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"--scale {scale}: {path} has no such scale, {has}.")
    for key, value in scales[scale].items():
        put(raw, str(key), value, f"scales.{scale}")
    raw |= {"name": f"{raw.get('name')}-{scale}", "scale": scale}


def _apply(raw: dict[str, Any], override: str) -> None:
    """Set one `a.b.c=value` in place; the value is read as YAML."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, for instance training.epochs=3.")
    put(raw, key.strip(), parse_yaml(value, f"--set {override}"), f"--set {override}")


def _validated(kind: type[S], raw: Mapping[str, Any], where: str) -> S:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {sentence(error, kind, raw)}") from None


def _absolute(experiment: Experiment, base: Path) -> Experiment:
    """Resolve the file's relative paths against its folder; a run folder's default is runs/NAME where one stands."""

    def resolve(path: Path) -> Path:
        return (base / path).resolve()  # an absolute path stays what it is

    def model(reference: str) -> str:
        """A path is one of the file's; a known name, a Hugging Face id and a server's model stand for themselves."""
        looks_like_one = reference.startswith(".") or reference.endswith(".gguf")
        looks_like_one |= "/" in reference and (base / reference).exists()
        return str(resolve(Path(reference))) if looks_like_one else reference

    def placed(questions: QuestionsConfig) -> QuestionsConfig:
        files = None if questions.files is None else {split: resolve(path) for split, path in questions.files.items()}
        return questions.model_copy(
            update={
                "files": files,
                "path": None if questions.path is None else resolve(questions.path),
                "hub": None if questions.hub is None else model(questions.hub),
            }
        )

    run_folder = Path("runs") / experiment.name if experiment.run_folder is None else resolve(experiment.run_folder)
    run_folder = run_folder.resolve()
    corpus = run_folder / "corpus.sqlite" if experiment.corpus is None else resolve(experiment.corpus)
    chains = None if experiment.import_chains is None else resolve(experiment.import_chains)
    exemplars = experiment.prompt.exemplars
    if exemplars is not None and str(exemplars).endswith((".yaml", ".yml")):
        prompt = experiment.prompt.model_copy(update={"exemplars": resolve(Path(exemplars))})
    else:
        prompt = experiment.prompt
    teacher = experiment.teacher
    if teacher.kind == "local":
        teacher = teacher.model_copy(update={"model": model(teacher.model)})
    students = {}
    for name, one in experiment.students.items():
        chosen = one.filter
        if chosen is not None:
            own = {"file": None if chosen.file is None else resolve(chosen.file)}
            asked = {"model": None if chosen.model is None else model(chosen.model)}
            chosen = chosen.model_copy(update={**own, **asked})
        update = {"model": None if one.model is None else model(one.model), "filter": chosen}
        students[name] = one.model_copy(update=update)
    return experiment.model_copy(
        update={
            "student": model(experiment.student),
            "students": students,
            "teacher": teacher,
            "questions": placed(experiment.questions),
            "train_on": tuple(map(placed, experiment.train_on)),
            "run_folder": run_folder,
            "corpus": corpus,
            "import_chains": chains,
            "prompt": prompt,
        }
    )
