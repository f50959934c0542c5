"""The model card of a student: what it is, what it was trained on, how to ask it."""

import json
from collections.abc import Mapping

from scotd import __version__
from scotd.cards import code, fenced, front_matter
from scotd.errors import ModelError
from scotd.experiment.plan import Plan
from scotd.models import ModelFiles, durable_name
from scotd.teachers import teacher_name
from scotd.types import Target


def model_card(plan: Plan, name: str, base: ModelFiles, record: Mapping[str, object]) -> str:
    """The card as Markdown with the hub's YAML header. `record` is the record of the training."""
    task = plan.experiment.questions.task
    start = code(durable_name(base.reference)) + (f" (dequantised from {base.dequantised})" if base.dequantised else "")
    question = plan.train[0]
    prompt = plan.prompt_for(name, question)
    shown = prompt.text if prompt.text is not None else json.dumps(prompt.to_json(), ensure_ascii=False)
    header: dict[str, object] = {"license": base.licence.lower()} if base.licence else {}
    header["tags"] = ["scotd", "distillation", "chain-of-thought"]
    if shown is None:
        raise ModelError("A student prompt is a text or messages.")
    return f"""{front_matter(header)}
# {name}

A student of {code(task)}, {_method(plan, name)} scotd {__version__}.

- starts from: {start}
- trained on: {_material(plan, name, record)} for {record["questions"]} questions
- target: {record["target"]}, selection: {record["selection"]}
- visits: {record["chain_visits"]} in {record["steps"]} steps, learning rate
  {plan.experiment.training_of(name).learning_rate:g}
- everything else: `scotd_training.json`

It answers prompts of exactly this form, and was trained on no other:

{fenced(shown)}

{_warning(plan, name)}
"""


def _asks_teacher(plan: Plan, name: str) -> bool:
    student = plan.experiment.students[name]
    return student.target is not Target.LABEL_ONLY or student.labels == "teacher"


def _method(plan: Plan, name: str) -> str:
    if plan.experiment.students[name].target is Target.LABEL_ONLY:
        return "a baseline trained on answers alone with"
    return "trained by Symbolic Chain-of-Thought Distillation (arXiv 2306.14050) with"


def _material(plan: Plan, name: str, record: Mapping[str, object]) -> str:
    teacher = code(teacher_name(plan.experiment.teacher))
    if plan.experiment.students[name].target is not Target.LABEL_ONLY:
        return f"{record['chains']} chains of {teacher}"
    return f"{record['chains']} labels, " + (f"the votes of {teacher}" if _asks_teacher(plan, name) else "all gold")


def _warning(plan: Plan, name: str) -> str:
    believed = (
        "Small students repeat what their teacher believed, right or wrong. " if _asks_teacher(plan, name) else ""
    )
    return believed + "Measure on your own questions before relying on it."
