"""The longer queries of a corpus: the stream of chains, what is present, what was left open, and all the counts."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from scotd.corpus.values import ChainCount, CorpusStats, QuestionCount, RequestCount
from scotd.types import SamplingParams

Read = Callable[[str, Sequence[object]], list[Any]]

CHAINS = """
SELECT q.key, p.digest, c.teacher, c.sampling, c.idx, c.text, c.finish, c.n_tokens, c.mean_logprob
FROM questions q {join} chains c ON c.question = q.id
JOIN teachers t ON t.id = c.teacher JOIN samplings s ON s.id = c.sampling JOIN prompts p ON p.id = c.prompt
WHERE {where} ORDER BY q.key, c.idx, t.name, s.digest, p.digest
"""

_CHOSEN = """
FROM selections n JOIN selected f ON f.selection = n.id CROSS JOIN chains c ON c.id = f.chain
JOIN questions q ON q.id = c.question
"""

FATES = f"SELECT c.digest, q.key, f.dropped {_CHOSEN} WHERE n.run = ? AND n.name = ? ORDER BY f.position"

SELECTED = f"""
SELECT q.key, p.digest, c.teacher, c.sampling, c.idx, c.text, c.finish, c.n_tokens, c.mean_logprob
{_CHOSEN} JOIN prompts p ON p.id = c.prompt
WHERE n.run = ? AND n.name = ? AND f.dropped IS NULL ORDER BY f.position
"""

# The text comes only where this parser has not read it yet.
ANSWERED = """
SELECT c.id, c.digest, q.key, c.idx, c.finish, a.answer, a.reason, CASE WHEN a.parser = ? THEN NULL ELSE c.text END
FROM questions q CROSS JOIN chains c ON c.question = q.id
JOIN teachers t ON t.id = c.teacher JOIN samplings s ON s.id = c.sampling JOIN prompts p ON p.id = c.prompt
LEFT JOIN parses a ON a.chain = c.id
WHERE {where} ORDER BY q.key, c.idx, t.name, s.digest, p.digest
"""

PRESENT = """
SELECT q.key, p.digest, c.idx
FROM questions q CROSS JOIN chains c ON c.question = q.id
JOIN teachers t ON t.id = c.teacher JOIN samplings s ON s.id = c.sampling JOIN prompts p ON p.id = c.prompt
WHERE q.key IN (SELECT value FROM json_each(?)) AND p.digest IN (SELECT value FROM json_each(?))
AND t.name = ? AND s.digest = ?
"""

UNACCOUNTED = """
SELECT q.key, p.digest, t.name, s.body, r.indices
FROM requests r JOIN questions q ON q.id = r.question JOIN prompts p ON p.id = r.prompt
JOIN teachers t ON t.id = r.teacher JOIN samplings s ON s.id = r.sampling
WHERE r.outcome IS NULL AND r.session IS NOT ? ORDER BY r.id
"""

BILLED = """
SELECT coalesce(sum(r.prompt_tokens), 0), coalesce(sum(r.completion_tokens), 0)
FROM requests r JOIN teachers t ON t.id = r.teacher WHERE t.name = ?
"""

_QUESTIONS = """
SELECT task, split, count(*), count(gold), sum(EXISTS (SELECT 1 FROM chains c WHERE c.question = q.id))
FROM questions q GROUP BY task, split ORDER BY task, split
"""

_CHAINS = """
SELECT t.name, s.body, count(*), count(DISTINCT c.question), coalesce(sum(c.n_tokens), 0), count(c.n_tokens)
FROM chains c JOIN teachers t ON t.id = c.teacher JOIN samplings s ON s.id = c.sampling
GROUP BY t.name, s.body ORDER BY t.name, s.body
"""

_FINISH = """
SELECT t.name, s.body, c.finish, count(*)
FROM chains c JOIN teachers t ON t.id = c.teacher JOIN samplings s ON s.id = c.sampling
GROUP BY t.name, s.body, c.finish ORDER BY c.finish
"""

UNCOUNTED = """
SELECT q.key, p.digest, t.name, s.body, r.indices, r.lost + r.unreadable + r.unsaid
FROM requests r JOIN questions q ON q.id = r.question JOIN prompts p ON p.id = r.prompt
JOIN teachers t ON t.id = r.teacher JOIN samplings s ON s.id = r.sampling
WHERE t.name = ? AND r.lost + r.unreadable + r.unsaid > 0 ORDER BY r.id
"""

_REQUESTS = """
SELECT coalesce(sum(outcome = 'ok'), 0), coalesce(sum(outcome = 'failed'), 0),
    coalesce(sum(outcome IS NULL AND session IS NOT ?1), 0),
    coalesce(sum((outcome IS NULL AND session IS NOT ?1) * json_array_length(indices)), 0),
    coalesce(sum(lost), 0), coalesce(sum(unreadable), 0), coalesce(sum(unsaid), 0),
    coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)
FROM requests WHERE ?2 IS NULL OR teacher = (SELECT id FROM teachers WHERE name = ?2)
"""

_FAILURES = """
SELECT CASE instr(error, ':') WHEN 0 THEN error ELSE substr(error, 1, instr(error, ':') - 1) END AS kind, count(*)
FROM requests WHERE outcome = 'failed' AND (?1 IS NULL OR teacher = (SELECT id FROM teachers WHERE name = ?1))
GROUP BY kind ORDER BY count(*) DESC, kind
"""


def requests(read: Read, session: int | None, teacher: str | None = None) -> RequestCount:
    """Count the requests of all sittings, or those to one teacher; `session` as for `stats`."""
    ok, failed, unaccounted, unaccounted_chains, lost, unreadable, unsaid, prompt_tokens, completion_tokens = read(
        _REQUESTS, (session, teacher)
    )[0]
    return RequestCount(
        ok=ok,
        failed=failed,
        failures=dict(read(_FAILURES, (teacher,))),
        unaccounted=unaccounted,
        unaccounted_chains=unaccounted_chains,
        lost=lost,
        unreadable=unreadable,
        unsaid=unsaid,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
    )


def stats(read: Read, session: int | None) -> CorpusStats:
    """Count everything in a corpus; `session` is the reading writer's own, whose open requests are not unaccounted."""
    finish: dict[tuple[str, str], dict[str, int]] = {}
    for teacher, sampling, reason, count in read(_FINISH, ()):
        finish.setdefault((teacher, sampling), {})[reason] = count
    chains = tuple(
        ChainCount(
            teacher=teacher,
            sampling=SamplingParams.from_json(json.loads(sampling)),
            chains=count,
            questions=questions,
            finish=finish[teacher, sampling],
            tokens=tokens,
            counted=counted,
        )
        for teacher, sampling, count, questions, tokens, counted in read(_CHAINS, ())
    )

    def rows_in(table: str) -> int:
        return int(read(f"SELECT count(*) FROM {table}", ())[0][0])

    return CorpusStats(
        questions=tuple(
            QuestionCount(task=task, split=split, questions=count, labelled=labelled, with_chains=with_chains)
            for task, split, count, labelled, with_chains in read(_QUESTIONS, ())
        ),
        chains=chains,
        requests=requests(read, session),
        prompts=rows_in("prompts"),
        duplicates=rows_in("duplicates"),
        scores=dict(read("SELECT kind, count(*) FROM scores GROUP BY kind ORDER BY kind", ())),
        selections=rows_in("selections"),
        predictions=rows_in("predictions"),
        runs=rows_in("runs"),
    )
