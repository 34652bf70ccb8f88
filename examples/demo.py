"""A real model judges real pairs on this machine: `make demo`, or `python examples/demo.py [MODEL]`."""

import sys
import time
from pathlib import Path
from textwrap import shorten

from rmr1_sdk import Judge, Judgment, Pair, Verdict
from rmr1_sdk.files.pairs import read_pairs
from rmr1_sdk.statistics.intervals import wilson

HERE = Path(__file__).parent
SMALL = "llama_cpp:smollm2-135m"


def main(model: str = SMALL) -> None:
    """Judge the pairs of pairs.jsonl, print what comes, and write it to out/demo.jsonl."""
    pairs = read_pairs(HERE / "pairs.jsonl").rows
    out = HERE.parent / "out" / "demo.jsonl"
    out.parent.mkdir(exist_ok=True)
    print(f"{model} judges {len(pairs)} pairs, each in both orders, at most 256 tokens a verdict.\n")

    started = time.monotonic()
    right = 0
    with Judge(model, sampling={"max_tokens": 256}) as judge, out.open("w", encoding="utf-8") as file:
        for pair, judgment in zip(pairs, judge.compare_many(pairs), strict=True):
            file.write(judgment.model_dump_json() + "\n")
            right += judgment.winner == pair.label
            show(pair, judgment)
    wall = time.monotonic() - started

    print(f"{len(pairs)} pairs in {wall:.0f} s. Every judgment with its whole text: {out}")
    print(f"Agrees with our labels: {wilson(right, len(pairs))} of {len(pairs)}.")
    if model == SMALL:
        print(
            "\nThis model has 135 million parameters. It only checks the installation; its verdicts are at chance.\n"
            "For judgments that matter take an RM-R1 checkpoint as a GGUF file; 7B at 4 bits runs in 8 GB of memory:\n"
            "  python examples/demo.py llama_cpp:RM-R1-Qwen2.5-Instruct-7B-Q4_K_M.gguf\n"
            "`rmr1 models` lists them with the memory each needs."
        )


def show(pair: Pair, judgment: Judgment) -> None:
    """A judgment in a few lines; `judgment.explain()` has the whole text."""
    question = pair.question if isinstance(pair.question, str) else pair.question[-1].content
    sure = "" if judgment.p_a is None else f", probability of A {judgment.p_a:.2f}"
    print(f"=== {pair.id}: {question}")
    print(f"verdict {judgment.winner}{sure}; label {pair.label}; {judgment.latency_s:.1f} s")
    for verdict in judgment.verdicts:
        forced = " when made to answer" if verdict.forced else ""
        print(f'  shown {verdict.shown}, says {verdict.winner}{forced}: "{reasons(verdict)}"')
    print(flush=True)


def reasons(verdict: Verdict) -> str:
    """What the judge wrote before its verdict, cut to a few lines."""
    text = verdict.evaluation or verdict.solution or verdict.text
    why = f" ({verdict.failure.message})" if verdict.failure else ""
    return shorten(text, 300, placeholder=" ...") + why


if __name__ == "__main__":
    main(*sys.argv[1:])
