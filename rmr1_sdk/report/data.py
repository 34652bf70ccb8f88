"""Judgments packed into a report's page: an index, and compressed blocks that are read on demand.

Both are JSON, deflated, in base64: a few times smaller than the texts, and nothing that could be read as markup.
"""

import base64
import json
import zlib
from collections.abc import Iterator
from typing import Any

from rmr1_sdk.report.figures import states
from rmr1_sdk.report.runs import Judged
from rmr1_sdk.types import Judgment, Pair

__all__ = ["BLOCK", "blocks", "index"]

BLOCK = 100
"""Pairs in a block."""
_SNIPPET = 200


def index(judged: Judged) -> str:
    """Rows of the report's list: {"runs", "block", "rows": [[id, subset, label, beginning, cells], ...]}.

    A row has a cell for each run, null where it did not judge the pair, else [state, winner, p_a, consistent, forced].
    """
    pairs = {pair.id: pair for pair in judged.pairs}
    found = [states(judged, run) for run in judged.runs]
    rows = [
        [
            name,
            *_about(pairs.get(name)),
            [
                _cell(of_run[name], run.judgments[name]) if name in run.judgments else None
                for run, of_run in zip(judged.runs, found, strict=True)
            ],
        ]
        for name in judged.ids
    ]
    return _packed(json.dumps({"runs": [run.name for run in judged.runs], "block": BLOCK, "rows": rows}))


def _about(pair: Pair | None) -> tuple[str, str | None, str]:
    if pair is None:
        return "", None, ""
    question = pair.question if isinstance(pair.question, str) else pair.question[-1].content
    return str(pair.metadata.get("subset", "")), pair.label, " ".join(question.split())[:_SNIPPET]


def _cell(state: str, judgment: Judgment) -> list[Any]:
    forced = any(verdict.forced for verdict in judgment.verdicts)
    p_a = None if judgment.p_a is None else round(judgment.p_a, 3)
    return [state, judgment.winner, p_a, judgment.position_consistent, forced]


def blocks(judged: Judged) -> Iterator[str]:
    """The texts of BLOCK rows after BLOCK rows: [[pair or null, [judgment or null of each run]], ...]."""
    pairs = {pair.id: pair for pair in judged.pairs}
    names = judged.ids
    for start in range(0, len(names), BLOCK):
        rows = []
        for name in names[start : start + BLOCK]:
            pair = json.dumps(pairs[name].model_dump(exclude={"id", "metadata"}) if name in pairs else None)
            said = [run.judgments.get(name) for run in judged.runs]
            rows.append(f"[{pair},[{','.join(one.model_dump_json() if one else 'null' for one in said)}]]")
        yield _packed(f"[{','.join(rows)}]")


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode()
