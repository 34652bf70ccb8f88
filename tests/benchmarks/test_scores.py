"""Benchmarks: loaded as published, scored as published. Known answers are of the files in ../shared/data."""

import gzip
import itertools
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from rmr1_sdk import ConfigError, DataError, Judgment, Message, MissingExtraError, Pair
from rmr1_sdk.benchmarks import BENCHMARKS, Benchmark, Profile, Scores, load
from rmr1_sdk.benchmarks.rewardbench import COUNTS as REWARDBENCH
from rmr1_sdk.benchmarks.rm_bench import LEVELS
from rmr1_sdk.benchmarks.rmb import COUNTS as RMB
from rmr1_sdk.benchmarks.sides import numpy_rand
from rmr1_sdk.types import OTHER
from tests.published import SIZES, decided, says, write

JUDGES = ("RM-R1-DeepSeek-Distilled-Qwen-32B", "RM-R1-Qwen2.5-Instruct-32B")
PROFILES: tuple[Profile, ...] = get_args(Profile)


def tiny(name: str, tmp_path: Path) -> Benchmark:
    return load(name, write(name, tmp_path), partial=True)


def whole(name: str, tmp_path: Path) -> Benchmark:
    """As many rows as are published."""
    return load(name, write(name, tmp_path, BENCHMARKS[name].counts))


def published(shared: Path, judge: str, *parts: str) -> Any:
    return json.loads((shared / "data" / "rm-r1-scores" / judge).joinpath(*parts).read_text())


def first_right(benchmark: Benchmark, right: dict[str, int]) -> list[Judgment]:
    """Of each subset so many right judgments, and the rest wrong."""
    left = Counter(right)
    judgments = []
    for pair in benchmark.pairs():
        left[pair.metadata["subset"]] -= 1
        judgments.append(says(pair, left[pair.metadata["subset"]] >= 0))
    return judgments


# --- known answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("judge", JUDGES)
def test_rewardbench_of_the_published_subsets_is_the_published_one(shared: Path, tmp_path: Path, judge: str) -> None:
    subsets = published(shared, judge, "reward_bench", "score_result", "each_small_section_score.json")
    expected = published(shared, judge, "reward_bench", "score_result", "main_score.json")
    right = {subset: round(subsets[subset] * pairs) for subset, pairs in REWARDBENCH.items()}
    benchmark = whole("rewardbench", tmp_path)
    judgments = first_right(benchmark, right)
    for profile in PROFILES:
        scores = benchmark.score(judgments, profile)
        for section in ("Chat", "Chat Hard", "Safety", "Reasoning"):
            assert scores.figure(section).value == pytest.approx(expected[section], abs=1e-12)
        assert scores.figures[0].value == pytest.approx(expected["avg_Result_each_section"], abs=1e-12)
        assert scores.figure("all pairs").value == pytest.approx(expected["absoluate_Result"], abs=1e-12)
        assert scores.figure("all pairs").n == 2985
        assert all(scores.figure(s).value == pytest.approx(subsets[s], abs=1e-12) for s in REWARDBENCH)
    half = (scores.figures[0].high - scores.figures[0].low) / 2
    assert half == pytest.approx(0.012, abs=0.002)  # 1.96 standard errors of 0.60 points, of section means


@pytest.mark.parametrize("judge", JUDGES)
def test_rmb_of_the_published_sets_is_the_published_mean(shared: Path, tmp_path: Path, judge: str) -> None:
    expected = published(shared, judge, "RMB", "META_RESULT.json")
    names = {
        "Pairwise_set/Helpfulness": "Pairwise Helpfulness",
        "Pairwise_set/Harmlessness": "Pairwise Harmlessness",
        "BoN_set/Helpfulness": "BoN Helpfulness",
        "BoN_set/Harmlessness": "BoN Harmlessness",
    }
    benchmark = whole("rmb", tmp_path)
    right = {subset: round(expected[names[subset]] * units) for subset, units in RMB.items()}
    units: dict[str, dict[str, None]] = {subset: {} for subset in RMB}
    for pair in benchmark.pairs():
        units[pair.metadata["subset"]][unit_of(pair)] = None
    good = {unit for subset, found in units.items() for unit in itertools.islice(found, right[subset])}
    judgments = [says(pair, unit_of(pair) in good) for pair in benchmark.pairs()]
    scores = benchmark.score(judgments)
    assert scores.figures[0].value == pytest.approx(expected["Accuracy Averaged from Four Sections"], abs=1e-12)
    ours = ("pairs, helpfulness", "pairs, harmlessness", "best of N, helpfulness", "best of N, harmlessness")
    for name, theirs in zip(ours, names.values(), strict=True):
        assert scores.figure(name).value == pytest.approx(expected[theirs], abs=1e-12)
    assert [scores.figure(name).n for name in ours] == [10_067, 7_064, 2_109, 1_677]


def unit_of(pair: Pair) -> str:
    return str(pair.metadata.get("unit", pair.id))


# right verdicts of hard, normal and easy by domain, of three times the prompts each: the only whole numbers with
# hard <= normal <= easy in every domain that give the published figures
RM_BENCH_RIGHT = {
    JUDGES[0]: [(219, 307, 335), (1413, 1461, 1497), (464, 507, 550), (1235, 1274, 1279)],
    JUDGES[1]: [(225, 312, 351), (1174, 1283, 1378), (401, 450, 505), (1207, 1254, 1263)],
}


@pytest.mark.parametrize("judge", JUDGES)
def test_rm_bench_is_the_published_one_only_with_the_published_mix_up(shared: Path, tmp_path: Path, judge: str) -> None:
    expected = published(shared, judge, "RM-Bench", "final_result.json")
    prompts = {"chat": 129, "math": 529, "code": 228, "safety": 441}
    right: dict[tuple[str, int, int], int] = {}
    for (domain, n), (hard, normal, easy) in zip(prompts.items(), RM_BENCH_RIGHT[judge], strict=True):
        shared_cell = n if (hard - n) % 2 == 0 else n - 1  # cell (1, 0), which both hard and easy count
        cells = {(0, 2): (hard - shared_cell) // 2, (1, 0): shared_cell, (2, 1): (easy - shared_cell) // 2}
        cells |= {(i, i): (normal + i) // 3 for i in range(3)} | {(0, 1): n // 2, (1, 2): n // 2, (2, 0): n}
        right |= {(domain, *cell): count for cell, count in cells.items()}
    benchmark = whole("rm-bench", tmp_path)
    left = Counter(right)
    judgments = []
    for pair in benchmark.pairs():
        cell = (pair.metadata["subset"].partition("-")[0], *pair.metadata["cell"])
        left[cell] -= 1
        judgments.append(says(pair, left[cell] >= 0))
    names = {"RM-Bench": "total_avg_acc", "hard": "hard_acc", "normal": "normal_acc", "easy": "easy_acc"}
    names |= {domain: domain for domain in prompts}
    compat, official = (benchmark.score(judgments, profile) for profile in ("rmr1_compat", "official"))
    for ours, theirs in names.items():
        assert compat.figure(ours).value == pytest.approx(expected[theirs], abs=1e-12)
    assert official.figure("normal").value == compat.figure("normal").value
    assert official.figure("hard").value != pytest.approx(compat.figure("hard").value, abs=0.01)


def test_rm_bench_by_hand(tmp_path: Path) -> None:
    """Right in these cells only, for every prompt; rows are the chosen style."""
    right = [[1, 0, 1], [1, 1, 0], [0, 1, 0]]
    benchmark = tiny("rm-bench", tmp_path)
    judgments = [
        says(pair, bool(right[pair.metadata["cell"][0]][pair.metadata["cell"][1]])) for pair in benchmark.pairs()
    ]
    figures = {
        profile: [benchmark.score(judgments, profile).figure(name).value for name in ("hard", "normal", "easy")]
        for profile in PROFILES
    }
    assert figures["official"] == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert figures["rmr1_compat"] == pytest.approx([1.0, 2 / 3, 1.0])
    for profile in PROFILES:
        scores = benchmark.score(judgments, profile)
        domains = [scores.figure(domain).value for domain in ("chat", "math", "code", "safety")]
        assert sum(domains) / 4 == pytest.approx(sum(figures[profile]) / 3)
        assert scores.figures[0].value == pytest.approx(sum(domains) / 4)


def test_cells_of_rm_bench_add_up() -> None:
    for levels in LEVELS.values():
        assert [sum(cells.values()) for cells in levels.values()] == [3, 3, 3]


@pytest.mark.parametrize("seed", [0, 1, 4_294_967_295])
def test_our_draws_are_those_of_numpy(seed: int) -> None:
    numpy = pytest.importorskip("numpy", reason="compares with numpy, which is not installed")
    theirs = numpy.random.RandomState(seed).rand(2000)
    assert list(itertools.islice(numpy_rand(seed), 2000)) == theirs.tolist()


@pytest.mark.parametrize("name", ["rewardbench", "rmb"])
def test_the_first_chosen_answers_stand_on_b_as_in_the_published_logs(name: str, tmp_path: Path) -> None:
    """numpy's seed 0 begins with 0.549 and 0.715; all published rows, the first two of their files, are so."""
    pairs = list(tiny(name, tmp_path).pairs())
    firsts = [[pair.label for pair in group][:2] for _, group in itertools.groupby(pairs, _set_of)]
    assert all(labels == ["B", "B"] for labels in (firsts if name == "rmb" else firsts[:1]))


def _set_of(pair: Pair) -> str:
    return str(pair.metadata["subset"])


# --- loading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_read_from_its_published_schema(name: str, tmp_path: Path) -> None:
    path = write(name, tmp_path)
    benchmark = load(name, path, partial=True)
    pairs = list(benchmark.pairs())
    assert len({pair.id for pair in pairs}) == len(pairs) > 0
    assert all(pair.label in ("A", "B", "tie") for pair in pairs)
    assert len(benchmark.data_sha256 or "") == 64
    assert list(load(name, path, partial=True).pairs()) == pairs
    assert list(load(name, tmp_path, partial=True).pairs()) == pairs  # the folder finds its file
    perfect = benchmark.score([decided(pair, pair.label) for pair in pairs])
    assert perfect.figures[0].value == 1.0
    assert 0.2 < perfect.figures[0].low < 1.0 or len(perfect.notes) > 1


@pytest.mark.parametrize(
    ("name", "pairs", "rows_of_tie"),
    [("autoj", 1392, 373), ("pandalm", 999, None), ("gsm8k", 2429, 0), ("ifbench", 444, 0), ("hh", 2312, 0)],
)
def test_the_shared_files_are_read_whole(shared: Path, name: str, pairs: int, rows_of_tie: int | None) -> None:
    benchmark = load(name, shared / "data")
    assert benchmark.notes == ()
    labels = Counter(pair.label for pair in benchmark.pairs())
    assert labels.total() == pairs
    assert rows_of_tie is None or labels["tie"] == rows_of_tie
    assert 0.4 < labels["A"] / (labels["A"] + labels["B"]) < 0.6
    for pair in itertools.islice(benchmark.pairs(), 50):
        assert pair.question
        assert "<<" not in pair.text("A") or name != "gsm8k"


def test_conversations_stay_conversations(shared: Path, tmp_path: Path) -> None:
    pair = next(p for p in tiny("rmb", tmp_path).pairs() if not p.is_single_turn)
    assert [turn.role for turn in pair.turns("A")] == ["user", "assistant", "user", "assistant"]
    longest = max(load("hh", shared / "data").pairs(), key=lambda pair: len(pair.question))
    assert isinstance(longest.question, tuple)
    assert {turn.role for turn in longest.question} == {"user", "assistant"}
    assert longest.question[-1].role == "user"


def test_transcripts_that_part_early_keep_their_own_turns(tmp_path: Path) -> None:
    parted = list(tiny("hh", tmp_path).pairs())[3]
    rejected = parted.answer(OTHER[parted.label])  # type: ignore[index]
    assert rejected == (
        Message(role="assistant", content="bad"),
        Message(role="user", content="more?"),
        Message(role="assistant", content="no."),
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rewardbench", {"chosen": None}, "row 2: field chosen: Input should be a valid string"),
        ("rewardbench", {"prompt": ...}, "row 2: field prompt: Field required; the row has chosen, chosen_model"),
        ("rewardbench", {"subset": "prior"}, "'prior' is no part of RewardBench; there are alpacaeval-easy"),
        ("rewardbench", {"id": 0}, "2 pairs are called 'alpacaeval-easy/0'"),
        ("rm-bench", {"rejected": ["a", "b"]}, "row 2: field rejected.2: Field required"),
        ("rm-bench", {"domain": "poetry"}, "row 2: field domain: Input should be 'chat', 'code'"),
        ("autoj", {"label": 3}, "row 2: field label: Input should be 0, 1 or 2"),
        ("pandalm", {"annotator2": "2"}, "row 2: field annotator2: Input should be 0, 1 or 2"),
        ("gsm8k", {"6b_finetuning": {"is_correct": True}}, "row 2: field 6b_finetuning.solution: Field required"),
        ("ifbench", {"text_chosen": "good"}, "row 2: field text_chosen"),
        ("ifbench", {"text_chosen": [{"role": "user", "content": "x"}] * 2}, "row 2: the two conversations begin with"),
        ("hh", {"chosen": "good"}, "row 2: field chosen: a transcript begins with 'Human:'"),
        ("pairs", {"label": None}, "row 2: field label: a benchmark needs to know which side is better"),
        ("pairs", {"lable": "A"}, "row 2: field lable: Extra inputs are not permitted"),
    ],
)  # fmt: skip
def test_a_row_that_is_wrong_is_named(tmp_path: Path, name: str, change: dict[str, Any], message: str) -> None:
    path = write(name, tmp_path)
    lines = not path.name.endswith(".json")
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    rows = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    rows[1] = {k: v for k, v in (rows[1] | change).items() if v is not ...}
    text = "".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    with pytest.raises(DataError) as caught:
        load(name, path, partial=True)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_numbers_of_rows_are_checked(tmp_path: Path) -> None:
    path = write("rewardbench", tmp_path)
    with pytest.raises(
        DataError, match=r"3 rows of alpacaeval-easy where RewardBench has 100; partial \(--partial\) takes a"
    ):
        load("rewardbench", path)
    with pytest.raises(DataError, match="6 rows where Auto-J pairwise has 1,392"):
        load("autoj", write("autoj", tmp_path))
    part = load("rewardbench", path, partial=True)
    assert part.notes[0] == "a part of RewardBench: 13 of 2,985"
    assert part.notes[1].startswith("not there: alpacaeval-length, alpacaeval-hard, mt-bench-easy")
    scores = part.score([decided(pair, pair.label) for pair in part.pairs()])
    assert scores.figures[0].name == "all pairs"
    assert scores.notes[2].startswith("left out, since not all of it was judged: RewardBench, Chat, Chat Hard")


def test_a_subset_that_is_missing_whole_is_said(tmp_path: Path) -> None:
    folder = write("judgebench", tmp_path, {"gpt-4o-2024-05-13": 350, "claude-3-5-sonnet-20240620": 270})
    both = load("judgebench", folder)
    assert both.notes == ()
    one = load("judgebench", folder / "data" / "dataset=judgebench,response_model=gpt-4o-2024-05-13.jsonl")
    assert one.notes == ("not there: claude-3-5-sonnet-20240620",)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("[1]", "f.json", "row 1: a row is an object, not int"),
        ('{"a": 1}', "f.json", "a JSON file of rows is a list, not dict"),
        ('[{"a": 1}', "f.json", "not JSON (Expecting ',' delimiter"),
        ('{"a": 1}\n{"a"\n', "f.jsonl", "row 2: not a whole JSON object (Expecting ':' delimiter at column"),
        ("", "f.jsonl", "no pairs in it"),
        ("x", "f.parquet", "not Parquet"),
    ],
)
def test_a_file_that_is_not_what_it_says(tmp_path: Path, text: str, name: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow", reason="reads Parquet, and pyarrow is not installed")
    with pytest.raises(DataError) as caught:
        load("autoj", path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl.gz").write_text("x")
    with pytest.raises(ConfigError, match=r"f\.jsonl\.gz: Not a gzipped file"):
        load("autoj", tmp_path / "f.jsonl.gz")
    with pytest.raises(ConfigError, match="unknown benchmark 'rewardbnech'; did you mean 'rewardbench'"):
        load("rewardbnech")
    with pytest.raises(ConfigError, match="llmbar is not on the hub: give its file or folder as data"):
        load("llmbar")
    with pytest.raises(ConfigError, match="none: no such file or folder"):
        load("autoj", "none")
    with pytest.raises(ConfigError, match=r"nothing here is called .*dataset\.json"):
        load("llmbar", Path(__file__).parent)


@pytest.mark.parametrize("name", ["rewardbench", "rm-bench", "judgebench"])
def test_parquet_holds_the_same_pairs(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="reads Parquet, and pyarrow is not installed")
    from pyarrow import Table, parquet

    path = write(name, tmp_path / "json")
    files = [path] if path.is_file() else sorted(path.glob("data/*.jsonl"))
    rows: list[Any] = []
    for file in files:
        text = file.read_text()
        rows += json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    target = tmp_path / "parquet" / "filtered-00000-of-00001.parquet"
    target.parent.mkdir()
    parquet.write_table(Table.from_pylist(rows), target)
    same = load(name, target.parent, partial=True)
    assert list(same.pairs()) == list(load(name, path, partial=True).pairs())


# --- scoring ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "profile", "tie", "unreadable"),
    [
        ("rewardbench", "official", 0.5, 0.5),
        ("rewardbench", "rmr1_compat", 0.5, 0.0),
        ("rm-bench", "official", 0.0, 0.0),
        ("rmb", "official", 0.0, 0.0),
        ("judgebench", "official", 0.0, 0.0),
        ("llmbar", "official", 0.5, 0.0),
        ("ifbench", "official", 0.5, 0.0),
    ],
)
def test_what_a_tie_and_an_unreadable_verdict_are_worth(
    tmp_path: Path, name: str, profile: Profile, tie: float, unreadable: float
) -> None:
    sizes = dict.fromkeys(BENCHMARKS[name].counts, 1) if name == "rewardbench" else None  # type: ignore[arg-type]
    benchmark = load(name, write(name, tmp_path, sizes), partial=True)
    pairs = list(benchmark.pairs())
    ties = benchmark.score([says(pair, True, False) for pair in pairs], profile).figures[0]
    assert (ties.value, ties.strict, ties.covered_accuracy, ties.coverage) == (tie, 0.0, 0.0, 1.0)
    unread = benchmark.score([says(pair, None, None) for pair in pairs], profile).figures[0]
    assert (unread.value, unread.strict, unread.covered_accuracy, unread.coverage) == (unreadable, 0.0, None, 0.0)


def test_coverage_strict_and_covered_accuracy(tmp_path: Path) -> None:
    benchmark = load("ifbench", write("ifbench", tmp_path, {"": 10}), partial=True)
    outcomes = [True] * 4 + [False] * 3 + [None] * 3
    scores = benchmark.score([says(pair, right) for pair, right in zip(benchmark.pairs(), outcomes, strict=True)])
    figure = scores.figures[0]
    assert (figure.n, figure.covered, figure.coverage) == (10, 7, 0.7)
    assert (figure.value, figure.strict) == (0.4, 0.4)
    assert figure.covered_accuracy == pytest.approx(4 / 7)
    assert (scores.judged, scores.unreadable, scores.ties) == (10, 3, 0)
    assert (figure.method, round(figure.low, 4), round(figure.high, 4)) == ("wilson", 0.1682, 0.6873)


def test_autoj_wants_both_orders_to_agree(tmp_path: Path) -> None:
    """Orders that differ are no way to say tie, and an agreement that one order happens to reach does not count."""
    benchmark = load("autoj", write("autoj", tmp_path, {"": 3}), partial=True)
    a, b, tie = benchmark.pairs()
    assert (a.label, b.label, tie.label) == ("A", "B", "tie")
    scores = benchmark.score([says(a, True, True), says(b, True, False), says(tie, True, False)])
    assert scores.figures[0].value == pytest.approx(1 / 3)
    assert scores.figure("where the label is a side").value == 0.5
    assert benchmark.score([says(a, True, None), says(b, None, True)]).figures[0].value == 0  # one of two was read
    assert (
        benchmark.score([says(b, True), decided(tie, "tie")]).figures[0].value == 1.0
    )  # one order alone; said outright


def test_pandalm_counts_what_it_cannot_read_as_a_tie_and_says_so(tmp_path: Path) -> None:
    benchmark = load("pandalm", write("pandalm", tmp_path, {"": 6}), partial=True)
    pairs = list(benchmark.pairs())
    assert [pair.label for pair in pairs] == ["A", "A", "A", "A", "A", "B"]
    tie = pairs[0].model_copy(update={"label": "tie"})
    changed = Benchmark(benchmark.entry, (tie, *pairs[1:]))
    scores = changed.score([decided(pair, None) for pair in changed.pairs()])
    assert scores.figures[0].value == pytest.approx(1 / 6)
    assert (scores.figures[0].strict, scores.unreadable) == (0.0, 6)
    assert "an unreadable verdict what a tie is" in scores.protocol


def test_annotators_agree_with_each_other_and_with_the_judge(shared: Path) -> None:
    benchmark = load("pandalm", shared / "data")
    judge = [decided(pair, pair.metadata["annotators"]["annotator 1"]) for pair in benchmark.pairs()]
    judge[0] = decided(next(benchmark.pairs()), None)
    table = {(row.first, row.second): row for row in benchmark.score(judge).agreement}
    assert table["annotator 1", "annotator 2"].kappa == pytest.approx(0.8520, abs=5e-5)
    assert table["annotator 1", "annotator 3"].kappa == pytest.approx(0.8789, abs=5e-5)
    assert table["annotator 2", "annotator 3"].kappa == pytest.approx(0.8617, abs=5e-5)
    itself = table["m", "annotator 1"]
    assert (itself.n, itself.kappa, itself.agreement and itself.agreement.value) == (998, 1.0, 1.0)
    majority = table["m", "majority"]
    assert majority.agreement
    assert majority.without_ties
    assert majority.without_ties.n < majority.n == 998
    assert majority.agreement.value < majority.without_ties.value


def test_a_list_is_right_where_the_best_beats_every_loser(tmp_path: Path) -> None:
    benchmark = tiny("rmb", tmp_path)
    lists: dict[str, list[Pair]] = {}
    for pair in benchmark.pairs():
        if pair.metadata["subset"] == "BoN_set/Helpfulness":
            lists.setdefault(pair.metadata["unit"], []).append(pair)
    one, two = lists.values()
    assert (len(one), len(two)) == (1, 2)
    name = "best of N, helpfulness"

    def scored(*outcomes: bool | None) -> tuple[float, int]:
        pairs = [*one, *two]
        figure = benchmark.score([says(p, o) for p, o in zip(pairs, outcomes, strict=True)]).figure(name)
        return figure.value, figure.covered

    assert scored(True, True, True) == (1.0, 2)
    assert scored(True, True, False) == (0.5, 2)
    assert scored(False, None, True) == (0.0, 1)  # not decided: the unread duel may be won
    assert scored(True, None, False) == (0.5, 2)  # lost, whatever the unread duel holds
    part = benchmark.score([says(one[0], True), says(two[0], True)]).figure(name)
    assert (part.value, part.covered) == (0.5, 1), "a list of which a duel was not judged is not won"


def test_llmbar_and_judgebench_have_their_groups(tmp_path: Path) -> None:
    llmbar = load("llmbar", write("llmbar", tmp_path), partial=True)
    wrong = {"Manual", "GPTOut"}
    scores = llmbar.score([says(pair, pair.metadata["subset"] not in wrong) for pair in llmbar.pairs()])
    assert scores.figures[0].value == pytest.approx(7 / 11)
    assert (scores.figure("Natural").value, scores.figure("Adversarial").value) == (1.0, 0.5)
    judgebench = load("judgebench", write("judgebench", tmp_path), partial=True)
    scores = judgebench.score([says(pair, "mmlu" in pair.metadata["source"]) for pair in judgebench.pairs()])
    assert scores.figures[0].name == "gpt-4o-2024-05-13"
    assert scores.figure("gpt-4o-2024-05-13, knowledge").value == 1.0
    assert scores.figure("claude-3-5-sonnet-20240620, math").value == 0.0


@pytest.mark.parametrize(
    ("given", "other", "value"),
    [(True, True, 1), (True, False, 0.5), (True, None, 0.5), (None, False, 0), (None, None, 0), (False, False, 0)],
)
def test_each_order_of_llmbar_counts_by_itself(
    tmp_path: Path, given: bool | None, other: bool | None, value: float
) -> None:
    llmbar = load("llmbar", write("llmbar", tmp_path), partial=True)
    assert llmbar.score([says(pair, given, other) for pair in llmbar.pairs()]).figures[0].value == value
    assert llmbar.score([says(pair, True) for pair in llmbar.pairs()]).figures[0].value == 1  # one order was asked


def test_intervals_know_that_pairs_share_prompts(tmp_path: Path) -> None:
    """Nine pairs of one prompt that come out alike are one thing learned."""
    benchmark = load(
        "rm-bench", write("rm-bench", tmp_path, {"chat": 30, "math": 30, "code": 30, "safety-refuse": 30}), partial=True
    )
    alike = [says(pair, pair.id is not None and int(pair.id.split("/")[1]) % 3 > 0) for pair in benchmark.pairs()]
    draw = random.Random(0)
    apart = [says(pair, draw.random() < 2 / 3) for pair in benchmark.pairs()]
    widths = [figure.high - figure.low for figure in (benchmark.score(j).figures[0] for j in (alike, apart))]
    assert widths[0] > 2 * widths[1]


def test_scores_go_to_json_and_back_and_follow_from_the_seed(tmp_path: Path) -> None:
    benchmark = tiny("judgebench", tmp_path)
    judgments = [says(pair, n % 3 > 0, n % 4 > 0, p=0.9) for n, pair in enumerate(benchmark.pairs())]
    scores = benchmark.score(judgments)
    assert Scores.model_validate_json(scores.model_dump_json()) == scores
    assert benchmark.score(reversed(judgments)) == scores
    assert (scores.model, scores.prompt, scores.profile, scores.pairs) == ("m", "cor", "official", 9)


def test_the_two_orders(tmp_path: Path) -> None:
    benchmark = load("ifbench", write("ifbench", tmp_path, {"": 8}), partial=True)
    first_shown = [says(pair, pair.label == "A", pair.label == "B") for pair in benchmark.pairs()]
    rates = {rate.name: rate.value for rate in benchmark.score(first_shown).position}
    assert (rates["orders differ"], rates["takes what is shown first"], rates["right in both"]) == (1.0, 1.0, 0.0)
    assert rates["right in the order given"] + rates["right in the other order"] == 1.0
    assert benchmark.score([says(pair, True) for pair in benchmark.pairs()]).position == ()


def test_calibration_of_a_judge_that_is_surer_than_it_may_be(tmp_path: Path) -> None:
    benchmark = load("ifbench", write("ifbench", tmp_path, {"": 40}), partial=True)
    judgments = [says(pair, n % 4 > 0, p=0.99 if n % 2 else 0.8) for n, pair in enumerate(benchmark.pairs())]
    found = benchmark.score(judgments).calibration
    assert found
    assert found.n == 40
    assert found.ece == pytest.approx(0.5 * 0.01 + 0.5 * 0.3)
    assert found.brier.value == pytest.approx((20 * 0.01**2 + 10 * 0.2**2 + 10 * 0.8**2) / 40)
    assert found.brier.low < found.brier.value < found.brier.high
    assert 0 < found.ece_by_chance < found.ece
    assert [(row.n, round(row.probability, 9), row.frequency) for row in found.reliability] == [
        (20, 0.8, 0.5),
        (20, 0.99, 1.0),
    ]
    assert [point.accuracy for point in found.risk_coverage] == [1.0, 0.75, 0.75]
    certain = benchmark.score([says(pair, False, p=1.0) for pair in benchmark.pairs()]).calibration
    assert certain
    assert certain.log_loss is None
    unsure = [says(pair, True) for pair in benchmark.pairs()]
    assert benchmark.score([j.model_copy(update={"p_a": None}) for j in unsure]).calibration is None


def test_accuracy_against_the_token_budget(tmp_path: Path) -> None:
    benchmark = load("ifbench", write("ifbench", tmp_path, {"": 4}), partial=True)
    judgments = []
    for pair, tokens in zip(benchmark.pairs(), (10, 100, 100, 500), strict=True):
        judgment = says(pair, tokens != 10)
        usage = judgment.usage.model_copy(update={"completion_tokens": tokens})
        verdicts = tuple(v.model_copy(update={"usage": usage}) for v in judgment.verdicts)
        judgments.append(judgment.model_copy(update={"verdicts": verdicts}))
    curve = benchmark.score(judgments).budget
    assert [(point.tokens, point.read, point.right) for point in curve] == [
        (16, 1, 0), (32, 1, 0), (64, 1, 0), (128, 3, 2), (256, 3, 2), (512, 4, 3),
    ]  # fmt: skip


def test_two_judges_on_the_same_pairs(tmp_path: Path) -> None:
    benchmark = load("ifbench", write("ifbench", tmp_path, {"": 100}), partial=True)
    pairs = list(benchmark.pairs())
    better = [says(pair, n % 10 > 0).model_copy(update={"model": "better"}) for n, pair in enumerate(pairs)]
    worse = [says(pair, n % 5 > 0).model_copy(update={"model": "worse"}) for n, pair in enumerate(pairs)]
    found = benchmark.compare(better, worse[:90])
    assert (found.first, found.second, found.n) == ("better", "worse", 90)
    assert (found.only_first, found.only_second, found.p) == (9, 0, 2 / 2**9)
    whole = found.differences[0]
    assert whole.name == "IFBench"
    assert whole.difference == pytest.approx(0.1)
    assert 0.03 < whole.low < 0.1 < whole.high < 0.18
    itself = benchmark.compare(better, better)
    assert (itself.p, itself.differences[0].low, itself.differences[0].high) == (1.0, 0.0, 0.0)
    with pytest.raises(DataError, match="the two judged no pair of ifbench both"):
        benchmark.compare(better[:1], worse[1:])


@pytest.mark.parametrize(
    ("judgments", "message"),
    [
        (lambda pairs: [decided(pairs[0], "A")] * 2, "two judgments are of pair '0'"),
        (lambda pairs: [decided(pairs[0].model_copy(update={"id": "x"}), "A")], "pair 'x', which is none of ifbench's"),
        (lambda pairs: [], "no judgments of ifbench to score"),
    ],
)
def test_judgments_must_be_of_these_pairs(
    tmp_path: Path, judgments: Callable[[Sequence[Pair]], list[Judgment]], message: str
) -> None:
    benchmark = tiny("ifbench", tmp_path)
    with pytest.raises(DataError, match=message):
        benchmark.score(judgments(list(benchmark.pairs())))
    with pytest.raises(ConfigError, match="unknown profile 'strict'; expected one of official, rmr1_compat"):
        benchmark.score([], "strict")  # type: ignore[arg-type]


# --- samples ----------------------------------------------------------------------------------------


def test_a_sample_has_of_each_subset_its_share(tmp_path: Path) -> None:
    benchmark = whole("rewardbench", tmp_path)
    sample = benchmark.sample(300, seed=1)
    drawn = Counter(pair.metadata["subset"] for pair in sample.pairs())
    assert drawn.total() == 300
    assert all(abs(drawn[subset] - 300 * pairs / 2985) <= 1.5 for subset, pairs in REWARDBENCH.items())
    assert sample.notes == (
        "300 of 2,985 pairs, drawn by subset with seed 1: intervals are about 3.2 times as wide as over all pairs",
    )
    assert [pair.id for pair in benchmark.sample(300, seed=1).pairs()] == [pair.id for pair in sample.pairs()]
    assert [pair.id for pair in benchmark.sample(300, seed=2).pairs()] != [pair.id for pair in sample.pairs()]
    assert set(Counter(pair.metadata["subset"] for pair in benchmark.sample(23).pairs()).values()) == {1}
    assert benchmark.sample(5000) is benchmark


def test_what_belongs_together_is_drawn_together(tmp_path: Path) -> None:
    benchmark = load("rm-bench", write("rm-bench", tmp_path, {"chat": 10, "math": 10}), partial=True)
    sample = benchmark.sample(50)
    assert set(Counter(pair.metadata["unit"] for pair in sample.pairs()).values()) == {9}
    assert sum(1 for _ in sample.pairs()) == 45
    with pytest.raises(ConfigError, match="5 pairs are fewer than what belongs together in rm-bench"):
        benchmark.sample(5)


def test_all_sizes_are_tried() -> None:
    assert list(SIZES) == list(BENCHMARKS)


@pytest.mark.parametrize(("module", "data"), [("datasets", None), ("pyarrow", "rows.parquet")])
def test_what_is_not_installed_is_said_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, data: str | None
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    if data:
        (tmp_path / data).touch()
    with pytest.raises(
        MissingExtraError, match=rf'{module} is not installed; run: pip install "rmr1_sdk\[(benchmarks|parquet)\]"'
    ):
        load("rewardbench", data and tmp_path / data)
