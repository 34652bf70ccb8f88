"""Pairs of a right and a wrong solution from GSM8K's published model solutions.

`python examples/gsm8k_pairs.py example_model_solutions.jsonl pairs.jsonl [COUNT]`

The file is the one of github.com/openai/grade-school-math: for each problem four solutions, each marked
as correct or not. Every right solution is paired with every wrong one of the same problem; the right one
is A in every second pair. Calculator annotations (`<<48/2=24>>`) are taken out: they are no part of what a
reader sees.
"""

import json
import re
import sys
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path
from typing import Any

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
_ANNOTATION = re.compile(r"<<[^<>]*>>")


def main(source: str, target: str, limit: str | None = None) -> None:
    """Write the first pairs of `source`, or all of them, to `target`."""
    numbers = count()
    written = 0
    with Path(source).open(encoding="utf-8") as rows, Path(target).open("w", encoding="utf-8") as out:
        for problem, line in enumerate(rows, start=1):
            for pair in pairs(json.loads(line), problem, numbers):
                if limit is not None and written == int(limit):
                    break
                out.write(json.dumps(pair, ensure_ascii=False) + "\n")
                written += 1
    print(f"{written} pairs written to {target}")


def pairs(row: dict[str, Any], problem: int, numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    """The pairs of one problem; `numbers` decides the sides."""
    solutions = {name: row[name] for name in MODELS if name in row}
    right = [name for name in solutions if solutions[name]["is_correct"]]
    wrong = [name for name in solutions if not solutions[name]["is_correct"]]
    for good, bad in product(right, wrong):
        texts = [_ANNOTATION.sub("", solutions[name]["solution"]) for name in (good, bad)]
        first = next(numbers) % 2
        yield {
            "id": f"{problem}/{good}/{bad}",
            "question": row["question"],
            "a": texts[first],
            "b": texts[1 - first],
            "label": "AB"[first],
            "metadata": {"right": good, "wrong": bad},
        }


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
