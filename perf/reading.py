"""How the time to read a completion grows with its length, for ordinary and for hostile texts.

`python perf/reading.py` prints, for each kind of text, how much longer twice the text takes: 2 is linear.
"""

import time

from rmr1_sdk import Pair, read

PAIR = Pair(question="Q", a="word " * 2_000, b="other " * 2_000)
UNITS = {
    "prose": "The answer is clear and complete. ",
    "open eval": "<eval>",
    "open tags": "<rubric><justify><quote_A>",
    "closed quotes": "<quote_A>word word</quote_A>",
    "answers": "<answer>[[A]]</answer>",
    "criteria": "1. Accuracy (40%): right\n",
    "angles": "< / ",
    "brackets": "[[A",
    "open and closed": "<rubric></eval>",
    "verdicts inside": "<eval>so <answer>[[A]]</answer></eval>\n",
    "verdicts in lines": "\n<answer>［［Ａ］］！</answer>\n<eval>",
    "verdicts in words": "say <answer>[[A]]</answer> or not ",
    "unclosed verdicts": "<answer>[[A]] ",
    "table rows": "| Accuracy | 40% | is it right |\n",
    "table rules": "<rubric>\n|---|---|\n",
    "full-width items": "1、准确性（40%）：答案是否正确\n",
    "decimal commas": "1. Richtigkeit (33,3 %): stimmt es\n",
    "fractions": "- Truth (1/3): so\n",
    "bold numbers": "**1. Accuracy (40%)**: right\n",
    "dotted quotes": "<quote_A>word ... word … word</quote_A>",
    "Markdown quotes": "<quote_A>**word** [word](x) `word` 1. &amp;</quote_A>",
}
SIZE = 500_000


def seconds(text: str) -> float:
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        read(text, pair=PAIR)
        best = min(best, time.perf_counter() - started)
    return best


def main() -> None:
    print(f"{'text':<15}{'500 kB':>10}{'1 MB':>10}{'ratio':>8}")
    for name, unit in UNITS.items():
        text = unit * (SIZE // len(unit))
        half, whole = seconds(text), seconds(text * 2)
        print(f"{name:<15}{half:>8.2f} s{whole:>8.2f} s{whole / half:>8.1f}")


if __name__ == "__main__":
    main()
