"""Files in the schemas that benchmarks are published in, with texts of our own, of any size."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rmr1_sdk import Judgment, Pair, Verdict
from rmr1_sdk.judging.voting import judgment
from rmr1_sdk.types import OTHER, Outcome, Shown, Side

SIZES = {
    "rewardbench": {"alpacaeval-easy": 3, "mt-bench-hard": 2, "donotanswer": 2, "math-prm": 4, "hep-python": 2},
    "rm-bench": {"chat": 2, "math": 2, "code": 1, "safety-refuse": 1, "safety-response": 2},
    "rmb": {
        "Pairwise_set/Helpfulness": 3,
        "Pairwise_set/Harmlessness": 2,
        "BoN_set/Helpfulness": 2,
        "BoN_set/Harmlessness": 2,
    },
    "judgebench": {"gpt-4o-2024-05-13": 5, "claude-3-5-sonnet-20240620": 4},
    "llmbar": {"Natural": 3, "Neighbor": 2, "GPTInst": 2, "GPTOut": 2, "Manual": 2},
    "autoj": {"": 6},
    "pandalm": {"": 6},
    "gsm8k": {"": 3},
    "ifbench": {"": 4},
    "hh": {"": 4},
    "pairs": {"": 4},
}


def write(name: str, folder: Path, sizes: Mapping[str, int] | None = None) -> Path:
    """The benchmark's file or folder, with so many rows of each subset."""
    sizes = sizes or SIZES[name]
    files = _MAKERS[name](sizes)
    for place, rows in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        if place.endswith(".gz"):
            path.write_bytes(gzip.compress(lines.encode()))
        else:
            path.write_text(lines if place.endswith(".jsonl") else json.dumps(list(rows)))
    return folder / next(iter(files)) if len(files) == 1 else folder


Files = dict[str, list[dict[str, Any]]]


def _each(sizes: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    return ((subset, n) for subset, size in sizes.items() for n in range(size))


def _rewardbench(sizes: Mapping[str, int]) -> Files:
    rows = [
        {
            "prompt": f"{subset} question {n}",
            "chosen": f"good {n} xxx",
            "chosen_model": "m",
            "rejected": f"bad {n}",
            "rejected_model": "o",
            "subset": subset,
            "id": number,
        }
        for number, (subset, n) in enumerate(_each(sizes))
    ]
    return {"filtered.jsonl": rows}


def _rm_bench(sizes: Mapping[str, int]) -> Files:
    styles = ("", " in detail", " in *detail*")
    rows = [
        {
            "id": n,
            "prompt": f"{domain} question {n}",
            "chosen": [f"good{style}" for style in styles],
            "rejected": [f"bad{style}" for style in styles],
            "domain": domain,
        }
        for domain, n in _each(sizes)
    ]
    return {"total_dataset.json": rows}


def _rmb(sizes: Mapping[str, int]) -> Files:
    files: Files = {}
    for number, (subset, n) in enumerate(_each(sizes)):
        about = {
            "conversation_input": [
                {"content": f"{subset} question {n % 40}", "language": "English", "role": "user"},
                *([{"content": "So?", "language": "English", "role": "assistant"}] if n % 2 else []),
                *([{"content": "And now?", "language": "English", "role": "user"}] if n % 2 else []),
            ],
            "category_path": f"{subset}/S{n % 2}",
        }
        good, bad = ({"llm_name": "m", "answer": f"{kind} {n}"} for kind in ("good", "bad"))
        if subset.startswith("Pairwise"):
            row = {"pair_uid": str(number), **about, "chosen": good | {"score": 4.5}, "reject": bad | {"score": 2.5}}
        else:
            losers = [bad, {"llm_name": "o", "answer": f"worse {n}"}][: 1 + n % 2]
            row = {**about, "bon_best": good, "loser_list": losers, "bon_uid": str(number)}
        files.setdefault(f"RMB_dataset/{about['category_path']}.json", []).append(row)
    return files


def _judgebench(sizes: Mapping[str, int]) -> Files:
    sources = ("mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench", "mmlu-pro-math")
    files: Files = {}
    for model, n in _each(sizes):
        files.setdefault(f"data/dataset=judgebench,response_model={model}.jsonl", []).append(
            {
                "pair_id": f"pair-{n}",
                "original_id": str(n),
                "source": sources[n % 5],
                "question": f"{model} question {n}",
                "response_model": model,
                "response_A": f"first {n}",
                "response_B": f"second {n}",
                "label": ("A>B", "B>A")[n % 2],
            }
        )
    return files


def _llmbar(sizes: Mapping[str, int]) -> Files:
    files: Files = {}
    for subset, n in _each(sizes):
        kind = subset if subset == "Natural" else f"Adversarial/{subset}"
        files.setdefault(f"Dataset/LLMBar/{kind}/dataset.json", []).append(
            {"input": f"{subset} task {n}", "output_1": f"one {n}", "output_2": f"two {n}", "label": 1 + n % 2}
        )
    return files


def _autoj(sizes: Mapping[str, int]) -> Files:
    rows = [
        {
            "scenario": ("planning", "ranking")[n % 2],
            "label": n % 3,
            "prompt": f"prompt {n}",
            "response 1": f"one {n}",
            "response 2": f"two {n}",
        }
        for _, n in _each(sizes)
    ]
    return {"testdata_pairwise.jsonl": rows}


def _pandalm(sizes: Mapping[str, int]) -> Files:
    rows = [
        {
            "idx": n,
            "motivation_app": "app",
            "cmp_key": ("a_b", "a_c")[n % 2],
            "instruction": f"do {n}",
            "input": "this" if n % 2 else "",
            "response1": True if n == 1 else f"one {n}",
            "response2": f"two {n}",
            "annotator1": 1,
            "annotator2": 1 + n % 2,
            "annotator3": n % 3,
        }
        for _, n in _each(sizes)
    ]
    return {"testset-v1.json": rows}


def _gsm8k(sizes: Mapping[str, int]) -> Files:
    names = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    rows = [
        {
            "question": f"problem {n}",
            "ground_truth": "A: 1",
            **{
                name: {"is_correct": k > n % 4, "solution": f"{n} * 2 = <<{n}*2={2 * n}>>{2 * n}, so {k}"}
                for k, name in enumerate(names)
            },
        }
        for _, n in _each(sizes)
    ]
    return {"example_model_solutions.jsonl": rows}


def _ifbench(sizes: Mapping[str, int]) -> Files:
    def turns(n: int, answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"do {n}"}, {"role": "assistant", "content": answer}]

    rows = [
        {"text_chosen": turns(n, "good"), "text_rejected": turns(n, "bad"), "id": n, "domain": f"level-{1 + n % 3}"}
        for _, n in _each(sizes)
    ]
    return {"data.converted.json": rows}


def _hh(sizes: Mapping[str, int]) -> Files:
    rows = []
    for _, n in _each(sizes):
        start = f"\n\nHuman: hello {n}\n\nAssistant: yes?\n\nHuman: and now?"
        more = "\n\nHuman: more?\n\nAssistant: no." if n == 3 else ""
        rows.append({"chosen": f"{start}\n\nAssistant: good", "rejected": f"{start}\n\nAssistant: bad{more}"})
    return {"harmless-base/test.jsonl.gz": rows}


def _pairs(sizes: Mapping[str, int]) -> Files:
    rows = [{"question": f"question {n}", "a": "one", "b": "two", "label": "AB"[n % 2]} for _, n in _each(sizes)]
    return {"pairs.jsonl": rows}


_MAKERS = {
    "rewardbench": _rewardbench,
    "rm-bench": _rm_bench,
    "rmb": _rmb,
    "judgebench": _judgebench,
    "llmbar": _llmbar,
    "autoj": _autoj,
    "pandalm": _pandalm,
    "gsm8k": _gsm8k,
    "ifbench": _ifbench,
    "hh": _hh,
    "pairs": _pairs,
}


def says(pair: Pair, right: bool | None, other: bool | str | None = "not asked", *, p: float | None = None) -> Judgment:
    """A judgment that is right, wrong or unreadable in the order given, and in the other where that was asked too.

    Of a pair that is a tie, A is wrong. `p` is the probability of the side that a reading names.
    """
    label: Side = pair.label if pair.label in ("A", "B") else "B"
    said: list[tuple[Shown, bool | str | None]] = [("AB", right), ("BA", other)]
    verdicts = []
    for shown, value in said:
        if value == "not asked":
            continue
        side = None if value is None else label if value else OTHER[label]
        p_a = None if p is None or side is None else p if side == "A" else 1 - p
        verdicts.append(Verdict(winner=side, shown=shown, p_a=p_a))
    return judgment(verdicts, pair_id=pair.id, model="m", prompt="cor", latency_s=0.0)


def decided(pair: Pair, winner: Outcome | None) -> Judgment:
    return Judgment(winner=winner, pair_id=pair.id, model="m", prompt="cor")
