"""What a filter wants to know of its candidates and a model must compute: vectors, perplexity, gain.

Numbers are stored beside the chain under `scored-by MODEL`, so that they are computed once; vectors are not.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from scotd.corpus import Corpus
from scotd.device import compute_dtype, pick_device
from scotd.embed import Embedder
from scotd.filters import Candidate
from scotd.models import ModelFiles, durable_name
from scotd.progress import Tracker
from scotd.prompts import Templates, answer_form, label_target_text, student_prompt, target_text
from scotd.score import score
from scotd.student import Loaded, load
from scotd.tokens import encode_prompt, encode_target, tokens_of
from scotd.types import Need, Question

Held = Sequence[tuple[Question, Sequence[Candidate]]]
Measure = Callable[[Held], list[list[Candidate]]]  # the same candidates with their measures


def measure_of(need: Need, files: ModelFiles, corpus: Corpus, templates: Templates, progress: Tracker) -> Measure:
    """How to compute a need with a model. Raises ModelError where the model cannot be loaded."""
    if need is Need.VECTOR:
        embedder = Embedder(files)
        return lambda held: _with_vectors(embedder, held)
    name = durable_name(files.reference)
    kinds = {Need.PERPLEXITY: f"nats a token, scored-by {name}", Need.GAIN: f"gain in nats, scored-by {name}"}
    models: list[Loaded] = []

    def measure(held: Held) -> list[list[Candidate]]:
        ids = [one.chain_id for _, candidates in held for one in candidates]
        known = corpus.scores(kinds[need], ids)
        missing = [
            (question, [one for one in candidates if one.chain_id not in known]) for question, candidates in held
        ]
        missing = [(question, candidates) for question, candidates in missing if candidates]
        if missing:
            if not models:
                device = pick_device()
                models.append(load(files, dtype=compute_dtype("auto", device), device=device, progress=progress))
            for kind, values in student_view(models[0], missing, templates).items():
                corpus.put_scores(kinds[kind], values)
            known = corpus.scores(kinds[need], ids)
        return [[replace(one, measures={need: (known[one.chain_id],)}) for one in candidates] for _, candidates in held]

    return measure


def student_view(loaded: Loaded, held: Held, templates: Templates) -> dict[Need, dict[str, float]]:
    """By chain id what a student thinks of a chain before it is trained.

    PERPLEXITY: nats a token over the whole target. GAIN: log p(answer | question, rationale) less log p(answer |
    question), in nats over the tokens of the answer alone, each after its own template.
    """
    tokenizer = loaded.tokenizer
    questions: list[tuple[list[int], list[list[int]]]] = []
    answers: list[list[range]] = []
    for question, candidates in held:
        labels = list(dict.fromkeys(one.answer for one in candidates))
        texts = [target_text(question, one.rationale, one.answer, templates) for one in candidates]
        texts += [label_target_text(question, label, templates) for label in labels]
        named = [answer_form(question, label) for label in [*(one.answer for one in candidates), *labels]]
        prompt = encode_prompt(tokenizer, student_prompt(question, templates))
        questions.append((prompt, [encode_target(tokenizer, text, finished=True) for text in texts]))
        answers.append([tokens_of(tokenizer, text, name) for text, name in zip(texts, named, strict=True)])
    found: dict[Need, dict[str, float]] = {Need.PERPLEXITY: {}, Need.GAIN: {}}
    scored = score(loaded.model, questions)
    for (_, candidates), chains, places in zip(held, scored, answers, strict=True):
        nats = [sum(chain[place] for place in spot) for chain, spot in zip(chains, places, strict=True)]
        labels = list(dict.fromkeys(one.answer for one in candidates))
        alone = dict(zip(labels, nats[len(candidates) :], strict=True))
        for one, chain, after in zip(candidates, chains, nats, strict=False):
            found[Need.PERPLEXITY][one.chain_id] = -sum(chain) / len(chain)
            found[Need.GAIN][one.chain_id] = after - alone[one.answer]
    return found


def _with_vectors(embedder: Embedder, held: Held) -> list[list[Candidate]]:
    vectors = iter(embedder.encode([one.rationale for _, candidates in held for one in candidates]))
    return [[replace(one, measures={Need.VECTOR: next(vectors)}) for one in candidates] for _, candidates in held]
