"""What an export says and refuses, without a model."""

import json
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import ConfigError, Judgment, Pair, Verdict
from rmr1_sdk.statistics.intervals import wilson
from rmr1_sdk.training.data import prepare as data
from rmr1_sdk.training.data.held_out import HeldOut
from rmr1_sdk.training.data.sources import Source
from rmr1_sdk.training.export import stage
from rmr1_sdk.training.export.gguf_files import merge_scores
from rmr1_sdk.training.export.model_card import Exported, ExportedFile, model_card
from rmr1_sdk.training.export.parity import parity
from rmr1_sdk.training.export.stage import ExportPlan, export


def judgments(*winners: str) -> list[Judgment]:
    """One for each pair, told by what it says when shown AB and BA; "-" is unreadable."""
    made: list[Judgment] = []
    for both in winners:
        verdicts = [
            Verdict(winner=None if side == "-" else side, shown=shown)  # type: ignore[arg-type]
            for side, shown in zip(both, ("AB", "BA"), strict=True)
        ]
        made.append(Judgment(winner=None, verdicts=tuple(verdicts), model="m", prompt="cor"))
    return made


PAIRS = [Pair(question="Q", a="1", b="2", label="A") for _ in range(4)]


def test_parity_counts_readings_that_name_the_same_side() -> None:
    measured = parity(PAIRS, judgments("AA", "AB", "BB", "--"), judgments("AA", "AA", "B-", "-A"))
    assert (measured.agreement.share, measured.agreement.of) == (4 / 8, 4)
    assert measured.difference.share == 2 / 8  # five right, of the checkpoint's three
    assert measured.difference.low == 0
    assert 0.25 < measured.difference.high <= 0.5
    assert measured.held_out.accuracy.share == 5 / 8
    assert parity(PAIRS, judgments(*["AB"] * 4), judgments(*["AB"] * 4)).difference.high == 0


def test_the_readings_of_a_pair_do_not_count_as_two_tries() -> None:
    """What goes wrong with a pair goes wrong in both orders: of 20 readings that are ten twice, ten say something."""
    pairs = PAIRS[:1] * 10
    agreement = parity(pairs, judgments(*["AA"] * 9, "BB"), judgments(*["AA"] * 10)).agreement
    alone = wilson(18, 20)
    assert alone
    assert agreement.share == alone.share == 0.9
    assert agreement.high - agreement.low > 1.25 * (alone.high - alone.low)


def test_a_checkpoint_that_names_no_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no rmr1\.json; write one, \{\"prompt\": \"NAME\"\}"):
        export(ExportPlan(checkpoint=tmp_path), tmp_path / "out")
    (tmp_path / "rmr1.json").write_text('{"prompt": "core"}')
    with pytest.raises(ConfigError, match="did you mean 'cor'"):
        export(ExportPlan(checkpoint=tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ("sft/chat_template.jinja", r"what is in .*chat_template\.jinja"),
        ("sft/adapter_model.safetensors", "what is in "),
        ("base/model.safetensors", "base_digest "),
        ("sft/training.log", None),
    ],
)
def test_a_folder_was_made_with_all_that_belongs_to_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, says: str | None
) -> None:
    texts = {
        "base/config.json": "{}",
        "base/model.safetensors": "1",
        "sft/rmr1.json": '{"prompt": "cor"}',
        "sft/adapter_config.json": json.dumps({"base_model_name_or_path": str(tmp_path / "base")}),
        "sft/adapter_model.safetensors": "1",
        "sft/chat_template.jinja": "1",
        "sft/training.log": "1",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    gguf = tmp_path / "out" / "out-F16.gguf"
    monkeypatch.setattr(stage, "_write_checkpoint", lambda _, folder, __: folder.mkdir())
    monkeypatch.setattr(stage, "_write_files", lambda *_: [gguf][: gguf.write_text("1")])
    plan = ExportPlan(checkpoint=tmp_path / "sft")
    made = export(plan, tmp_path / "out")
    assert export(plan, tmp_path / "out") == made
    (tmp_path / changed).write_text("2")
    if says is None:
        assert export(plan, tmp_path / "out") == made
    else:
        with pytest.raises(ConfigError, match=says):
            export(plan, tmp_path / "out")


@pytest.mark.parametrize(
    ("model", "scores"),
    [
        (
            {"type": "BPE", "byte_fallback": True, "merges": [["a", "b"], ["ab", "c"], ["a", "bc"]]},
            {"ab": 0, "abc": -1},
        ),
        ({"type": "BPE", "byte_fallback": True, "merges": ["a b"]}, {"ab": 0}),
        ({"type": "BPE", "byte_fallback": False, "merges": ["a b"]}, None),
        ({"type": "Unigram"}, None),
    ],
    ids=["Llama 2", "merges as text", "byte level", "Unigram"],
)
def test_scores_of_merges(tmp_path: Path, model: dict[str, Any], scores: dict[str, float] | None) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    assert merge_scores(tmp_path) == scores
    (tmp_path / "tokenizer.model").touch()
    assert merge_scores(tmp_path) is None


def test_the_card_says_what_was_measured_and_how_it_was_trained(tmp_path: Path) -> None:
    trained = tmp_path / "checkpoint"
    settings = {"model": str(tmp_path / "base"), "epochs": 2.0}
    record = {"stage": "sft", "rmr1_sdk": "1", "settings": settings, "model_commit": "c0ffee"}
    (tmp_path / "step.json").write_text(json.dumps(record))
    (tmp_path / "card.md").write_text("# Data card\n\n12 rows were read.\n\n## Lengths\n\n| |\n")
    of_checkpoint = judgments("AA", "AB", "BB", "--")
    exported = Exported(
        name="mine",
        prompt="cor",
        checkpoint=HeldOut.of(PAIRS, of_checkpoint),
        files=(
            ExportedFile(name="mine-F16.gguf", bytes=1_500_000, parity=parity(PAIRS, of_checkpoint, of_checkpoint)),
        ),
    )
    card = model_card(exported, trained, tmp_path / "pairs.jsonl", tmp_path / "card.md")
    assert 'Judge("llama_cpp:mine-F16.gguf")' in card
    assert "4 pairs of `pairs.jsonl`, each in both orders" in card
    assert "| mine-F16.gguf | 1.5 | 37.5% [" in card
    assert "| 75.0% [30.1%, 95.4%] of 4 | +0.0 [+0.0, +0.0] |" in card
    assert '- model_commit: `"c0ffee"`' in card
    assert 'Stage `sft` of rmr1_sdk 1.\n\n- model: `"base"`\n- epochs: `2.0`' in card
    assert "## What it learned from\n\n12 rows were read.\n\n### Lengths" in card
    assert "names the answer shown first in 66.7%" in card
    assert str(tmp_path) not in card


def test_no_path_of_the_machine_gets_into_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a data card as `prepare` leaves it: sources, benchmarks, bad rows and a tokenizer in a folder."""
    monkeypatch.setattr(data, "token_counter", lambda _: len)
    rows = [json.dumps({"prompt": f"{n}?", "chosen": "yes", "rejected": "no"}) for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join([*rows, "{"]))
    (tmp_path / "bench.jsonl").write_text('{"question": "3?"}')
    plan = data.DataPlan(
        sources=(Source(path=str(tmp_path / "rows.jsonl")), Source(path="tiny:8")),
        against=(tmp_path / "bench.jsonl",),
        tokenizer=str(tmp_path),
        skip_bad=True,
    )
    made = data.prepare(plan, tmp_path / "data")
    assert made.bad_rows[0].startswith("rows.jsonl:21: ")
    assert [source["path"] for source in made.settings["sources"]] == ["rows.jsonl", "tiny:8"]
    assert made.settings["against"] == ["bench.jsonl"]
    files = (ExportedFile(name="mine-F16.gguf", bytes=1, parity=None),)
    exported = Exported(name="mine", prompt="cor", checkpoint=None, files=files)
    for name in ("card.md", "card.json"):
        card = model_card(exported, tmp_path / "x", None, tmp_path / "data" / name)
        assert "rows.jsonl:21: " in card
        assert str(tmp_path) not in card


def test_the_card_says_what_was_not_measured(tmp_path: Path) -> None:
    files = (ExportedFile(name="mine-F16.gguf", bytes=1, parity=None),)
    card = model_card(Exported(name="mine", prompt="cor", checkpoint=None, files=files), tmp_path / "x", None, None)
    assert "Not measured: it was exported without labelled pairs." in card
    assert "Not known: there is no `step.json`" in card
