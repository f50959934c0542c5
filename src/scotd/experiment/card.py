"""The model card of a student: what it is, what it was trained on, how to ask it."""

import json
from collections.abc import Mapping

from scotd import __version__
from scotd.errors import ModelError
from scotd.experiment.plan import Plan
from scotd.models import ModelFiles


def model_card(plan: Plan, name: str, base: ModelFiles, record: Mapping[str, object]) -> str:
    """The card as Markdown with the hub's YAML header. `record` is the record of the training."""
    task = plan.experiment.questions.task
    start = base.reference + (f" (dequantised from {base.dequantised})" if base.dequantised else "")
    question = plan.train[0]
    prompt = plan.prompt_for(name, question)
    shown = prompt.text if prompt.text is not None else json.dumps(prompt.to_json(), ensure_ascii=False)
    licence = f"license: {base.licence.lower()}\n" if base.licence else ""
    if shown is None:
        raise ModelError("A student prompt is a text or messages.")
    return f"""---
{licence}tags: [scotd, distillation, chain-of-thought]
---
# {name}

A student of `{task}`, trained by Symbolic Chain-of-Thought Distillation (arXiv 2306.14050) with scotd {__version__}.

- starts from: {start}
- teacher: {plan.experiment.teacher.name or plan.experiment.teacher.model}
- target: {record["target"]}, selection: {record["selection"]}
- chains: {record["chains"]} for {record["questions"]} questions, {record["chain_visits"]} chain visits in
  {record["steps"]} steps, learning rate {plan.experiment.training_of(name).learning_rate:g}
- everything else: `scotd_training.json`

It answers prompts of exactly this form, and was trained on no other:

```
{shown}
```

Small students repeat what their teacher believed, right or wrong. Measure on your own questions before relying on it.
"""
