"""The corpus: one SQLite file in which a chain, once paid for, is never lost and never paid for twice.

    with Corpus.open(path) as corpus:
        corpus.add_questions(questions)
        corpus.add_prompts(prompts)
        for request, intent in zip(corpus.begin_requests(intents), intents):
            corpus.finish_request(request, chains_of(intent), usage)   # returns at once, on disk within 50 ms
    for chain in corpus.chains(teacher="local:..."):                   # streams

`schema` holds the tables, `writer` the lock and the thread that commits in groups, `store` the class with `rows`,
`results` and `summary` behind it. `exchange` and `jsonl` write files to give away and take our own back; `foreign`,
with `records` and `matching`, takes in somebody else's chains; `merge` takes in another corpus, and `verify` says
whether one is whole.
"""

from scotd.corpus.card import corpus_card
from scotd.corpus.exchange import Exchanged, export_parquet, import_parquet, is_exported
from scotd.corpus.foreign import ImportColumns, ImportReport, Problem, import_chains
from scotd.corpus.jsonl import JsonlForm, export_jsonl, export_pairs, export_tokens
from scotd.corpus.matching import NoMatch, QuestionIndex, label_of, match
from scotd.corpus.merge import Merged, RequestsAdded, merge
from scotd.corpus.records import Record, column, read_records
from scotd.corpus.store import Corpus
from scotd.corpus.values import (
    ChainCount,
    ChainsAdded,
    CorpusStats,
    KnownCap,
    QuestionCount,
    QuestionsAdded,
    RequestCount,
    RequestIntent,
    RunRecord,
    Want,
)
from scotd.corpus.verify import Damage, Verified, verify

__all__ = [
    "ChainCount",
    "ChainsAdded",
    "Corpus",
    "CorpusStats",
    "Damage",
    "Exchanged",
    "ImportColumns",
    "ImportReport",
    "JsonlForm",
    "KnownCap",
    "Merged",
    "NoMatch",
    "Problem",
    "QuestionCount",
    "QuestionIndex",
    "QuestionsAdded",
    "Record",
    "RequestCount",
    "RequestIntent",
    "RequestsAdded",
    "RunRecord",
    "Verified",
    "Want",
    "column",
    "corpus_card",
    "export_jsonl",
    "export_pairs",
    "export_parquet",
    "export_tokens",
    "import_chains",
    "import_parquet",
    "is_exported",
    "label_of",
    "match",
    "merge",
    "read_records",
    "verify",
]
