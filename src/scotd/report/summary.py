"""Report -> summary.json: the numbers of the page as JSON, fractions rather than percentages."""

import json
from collections.abc import Mapping
from typing import Any

from scotd.clean import cleaned
from scotd.report.collect import Report
from scotd.report.data import Against, Arm, Cell, Row
from scotd.report.words import spelt
from scotd.stats import Estimate


def summary(report: Report) -> str:
    """Return all tables as JSON, one object a row; what is not there is null."""
    value = {
        "name": report.name,
        "runs": [run.name for run in report.runs],
        "confidence": report.confidence,
        "resamples": report.resamples,
        "baseline": report.baseline,
        "rows": [
            {
                "split": table.split,
                **_names(row.cell),
                "student": row.cell.student,
                "seed": row.cell.seed,
                "chance": table.chance,
                "result": _result(row),
                "comparison": _comparison(row),
            }
            for table in report.tables
            for row in table.rows
        ],
        "arms": [{"split": table.split, **_arm(arm)} for table in report.tables for arm in table.arms],
        "votes": [
            {
                "split": split,
                **_names(curve.cell),
                "seeds": curve.seeds,
                "n": curve.n,
                "accuracies": [_rounded(estimate) for estimate in curve.accuracies],
            }
            for split, curves in report.votes
            for curve in curves
        ],
        "contrasts": [
            {
                "split": split,
                **_names(row.cell),
                "seeds": row.seeds,
                "pairs": row.pairs,
                "original": row.original,
                "changed": row.changed,
                "consistent": _rounded(row.consistent),
            }
            for split, rows in report.contrasts
            for row in rows
        ],
        "between": [
            {
                "split": split,
                **_names(row.cell),
                "other": row.other.run,
                "against": _difference(row.against),
                "why": row.why,
            }
            for split, rows in report.between
            for row in rows
        ],
        "alone": report.alone,
        "settings": [{"key": setting.key, "values": setting.values} for setting in report.differing],
        "published": [
            {
                "run": part.run,
                "rows": [
                    {
                        "what": row.what,
                        "where": row.where,
                        "note": row.note,
                        "split": row.split,
                        "row": row.row,
                        "published": row.published,
                        "ours": None if row.arm is None else _arm(row.arm),
                    }
                    for row in part.rows
                ],
                "differences": part.differences,
            }
            for part in report.published
        ],
    }
    return json.dumps(cleaned(value), indent=1, ensure_ascii=False) + "\n"


def _names(cell: Cell) -> dict[str, Any]:
    return {
        "run": cell.run,
        "row": cell.row,
        "at": dict(cell.place),
        "target": cell.target.value,
        "decoding": cell.decoding,
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        **_names(arm.cell),
        "n": arm.n,
        "mean": arm.mean,
        "interval": None if arm.interval is None else [round(bound, 6) for bound in arm.interval],
        "seeds": {spelt(seed): accuracy for seed, accuracy in arm.accuracies},
        "unparsed": arm.unparsed,
        "tokens": arm.tokens,
        "against": _difference(arm.against),
        "mcnemar": {spelt(row.cell.seed): None if row.comparison is None else row.comparison.p for row in arm.rows},
    }


def _difference(against: Against | None) -> dict[str, Any] | None:
    if against is None:
        return None
    mean, interval, p = against.difference
    return {
        **_names(against.other),
        "seeds": against.seeds,
        "pairs": against.pairs,
        "difference": mean,
        "interval": [round(bound, 6) for bound in interval],
        "p": p,
    }


def _rounded(estimate: Estimate) -> dict[str, Any]:
    """Sums of floats in another order differ in their last digits: these are not shown."""
    return {"mean": round(estimate.mean, 6), "interval": [round(bound, 6) for bound in estimate.interval]}


def _result(row: Row) -> Mapping[str, Any] | None:
    result = row.result
    if result is None:
        return None
    return {
        "n": result.n,
        "unlabelled": result.unlabelled,
        "correct": result.correct,
        "accuracy": result.accuracy,
        "interval": None if result.interval is None else list(result.interval),
        "unparsed": result.unparsed,
        "reasons": result.reasons,
        "ties": result.ties,
        "chains": result.chains,
        "chains_unparsed": result.chains_unparsed,
        "tokens": result.tokens,
    }


def _comparison(row: Row) -> Mapping[str, Any] | None:
    comparison = row.comparison
    if comparison is None:
        return None
    return {
        "student": comparison.student,
        "decoding": comparison.decoding,
        "pairs": comparison.pairs,
        "only_this": comparison.only_this,
        "only_baseline": comparison.only_baseline,
        "difference": comparison.difference,
        "p": comparison.p,
    }
