"""Recipes: how they are read, what they come to before they run, and the stages that need no trainer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.training.learn import grpo, sft
from rmr1_sdk.training.recipes.forecast import forecast, grpo_steps, sft_steps
from rmr1_sdk.training.recipes.recipe import Recipe, read_recipe, run, shipped
from tests import processes

Command = Callable[..., "subprocess.CompletedProcess[str]"]

OURS = """
seed: 5
data:
  sources: [{path: tiny:120}]
  parts: {distill: 20, dev: 10, test: 10, rl: rest}
distill: {teacher: tiny}
"""


def recipe(folder: Path, text: str, **options: Any) -> Recipe:
    file = folder / "recipe.yaml"
    file.write_text(text)
    return read_recipe(str(file), folder / "out", **options)


@pytest.fixture
def command(rmr1: list[str], tmp_path: Path) -> Command:
    def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
        given = [*rmr1, "train", "run", *map(str, arguments), "--out", str(tmp_path / "out")]
        return processes.run(given)

    return command


# --- reading -------------------------------------------------------------------------------------------


def test_stages_find_what_those_before_them_leave(tmp_path: Path) -> None:
    read = recipe(tmp_path, OURS + "model: {tiny: {hidden: 32}}\nsft: {packing: false}\ngrpo: {seed: 7}\nexport:\n")
    out = tmp_path / "out"
    assert read.stages == ("data", "distill", "model", "sft", "grpo", "export")
    assert read.distill
    assert read.distill.pairs == out / "data" / "distill.jsonl"
    assert read.sft
    assert (read.sft.model, read.sft.traces) == (str(out / "model"), out / "traces" / "traces.jsonl")
    assert read.grpo
    assert (read.grpo.model, read.grpo.pool) == (str(out / "sft" / "checkpoint"), out / "data" / "rl.jsonl")
    assert read.sft.held_out == read.grpo.held_out == out / "data" / "dev.jsonl"
    assert read.export
    assert (read.export.checkpoint, read.export.held_out) == (
        out / "grpo" / "checkpoint", out / "data" / "test.jsonl",
    )  # fmt: skip
    assert read.export.data_card == out / "data" / "card.md"
    assert read.data
    assert read.model
    assert read.model.tiny
    assert (read.data.seed, read.distill.seed, read.model.tiny.seed, read.sft.seed, read.grpo.seed) == (5, 5, 5, 5, 7)


def test_a_seed_takes_the_place_of_the_recipes_own(tmp_path: Path) -> None:
    read = recipe(tmp_path, OURS + "model: {name: m}\ngrpo: {seed: 7}\n", seed=9)
    assert read.data
    assert read.grpo
    assert (read.data.seed, read.grpo.seed) == (9, 7)


def test_adapters_are_merged_before_grpo(tmp_path: Path) -> None:
    read = recipe(tmp_path, OURS + "model: {name: m}\nsft: {lora_rank: 4}\ngrpo: {lora_rank: 4}\n")
    assert read.stages == ("data", "distill", "sft", "merge", "grpo")
    assert read.grpo
    assert read.grpo.model == str(tmp_path / "out" / "merged" / "checkpoint")


def test_files_of_ones_own_stand_in_for_a_stage(tmp_path: Path) -> None:
    read = recipe(tmp_path, "model: {name: m}\nsft: {traces: mine.jsonl}\nexport: {data_card: mine.md}\n")
    assert read.stages == ("sft", "export")
    assert read.sft
    assert read.export
    assert (read.sft.traces, read.sft.held_out, read.export.held_out) == (Path("mine.jsonl"), None, None)
    assert read.export.checkpoint == tmp_path / "out" / "sft" / "checkpoint"


def test_nobody_judges_on_the_way_with_a_part_of_a_model(tmp_path: Path) -> None:
    text = OURS + "machine: {gpus: 8, sharding: zero3}\nmodel: {name: m}\nsft:\ngrpo:\n"
    read = recipe(tmp_path, text)
    assert read.sft
    assert read.grpo
    assert read.sft.held_out is read.grpo.held_out is read.grpo.canary is None
    with pytest.raises(ConfigError, match="with zero3 no process holds the whole model"):
        recipe(tmp_path, text.replace("sft:", "sft: {held_out: dev.jsonl}"))


def test_numbers_are_those_of_today(tmp_path: Path) -> None:
    read = recipe(tmp_path, OURS + "model: {name: m}\ngrpo: {learning_rate: 1e-6, trl: {epsilon_high: 2e-1}}\n")
    assert read.grpo
    assert (read.grpo.learning_rate, read.grpo.trl) == (1e-6, {"epsilon_high": 0.2})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sft: {batch: 3}\nmodel: {name: m}", ":1: field sft.batch: Extra inputs are not permitted"),
        ("\nsftt: {}", ":2: field sftt: Extra inputs are not permitted"),
        ("model:\n  name: m\nsft:\n  traces: t\n  batch_size: 0", ":5: field sft.batch_size: Input should be greater"),
        ("model: {name: m}\nsft:\n  epochs: 1", ":2: field sft.traces: this is missing: name it, or add the stage"),
        ("model: {name: m}\ngrpo: {pool: p, rollout_size: 3}", ":2: field grpo: rollout_size 3 is no multiple of"),
        ("data:\n  sources:\n    - path: x\n    - pth: y", ":4: field data.sources.1.path: this is missing"),
        ("model: {shape: {layers: 1}}", ":1: field model.shape.hidden"),
        ("model: {name: m}", ":1: there is no stage in it"),
        ("data: {sources: [{path: x}], parts: }", ":1: field data.parts: Input should be a valid dictionary"),
        ("model: {tiny: {}}\nsft: {traces: t}", ":1: traces are not packed for a model with convolutions"),
        ("model: {tiny: {layers: 1}}", ":1: field model.tiny: the first layer is a convolution"),
        ("data: {sources: [{path: tiny:4}], parts: 100}", ":1: field data.parts: Input should be"),
        ("model: {name: m, tiny: {}}", ":1: field model: give either name, of a model that there is, or tiny"),
        (
            "model: {tiny: {}}\nexport: {checkpoint: c}",
            ":1: a model from nothing has to be fine-tuned on traces first: add sft",
        ),
        ("seed: x\ndata: {sources: [{path: tiny:4}]}", ":2: field data.seed: Input should be a valid integer"),
        ("out: x", ":1: field out: where things go is not the recipe's: --out"),
        ("sft: {}\nsft: {}", ":2: field sft: that is there twice"),
        ("sft: {a: [}", ":1: "),
        ("sft", ": a recipe has a line for each stage"),
        ("like: 3", ":1: field like: name another recipe"),
        ("seed: 1\nlike: tiny\nsft: {batch: 8}", ":3: field sft.batch: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_field(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(tmp_path, text)
    assert f"recipe.yaml{says}" in str(caught.value)


def test_a_recipe_like_another_says_only_what_is_different(tmp_path: Path) -> None:
    large = recipe(tmp_path, "like: rm-r1-7b-instruct\nmachine: {nodes: 2}\ndata: {sources: [{path: mine.jsonl}]}")
    small = read_recipe("rm-r1-7b-instruct", tmp_path / "out")
    assert large.machine == small.machine.model_copy(update={"nodes": 2})
    assert large.data
    assert small.data
    assert [source.path for source in large.data.sources] == ["mine.jsonl"]  # a list is replaced whole
    assert large.data.tokenizer == small.data.tokenizer
    assert (large.sft, large.grpo) == (small.sft, small.grpo)
    (tmp_path / "circle.yaml").write_text(f"like: {tmp_path / 'circle.yaml'}")
    with pytest.raises(ConfigError, match=r"circle.yaml:1: field like: name another recipe, not like this one"):
        read_recipe(str(tmp_path / "circle.yaml"), tmp_path)


def test_what_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe 'tinny'; did you mean 'tiny'\? Expected one of .*, tiny$"):
        read_recipe("tinny", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert read_recipe("tiny", tmp_path).distill  # a folder of that name is none
    with pytest.raises(ConfigError, match=r"none.yaml: No such file"):
        read_recipe(str(tmp_path / "none.yaml"), tmp_path)


# --- before it runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", shipped())
def test_a_dry_run_of_every_shipped_recipe(command: Command, tmp_path: Path, name: str) -> None:
    said = command(name, "--dry-run")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["notes"] == []
    stages = {stage["stage"]: stage for stage in told["stages"]}
    for trained in stages.keys() & {"sft", "grpo"}:
        assert stages[trained]["steps"] > 0
        needed = stages[trained]["memory"]["total"]
        assert 0 < needed < told["recipe"]["machine"]["memory_gib"] * 2**30
    assert not (tmp_path / "out").exists()


INSTRUCT = ("data", "distill", "sft", "grpo", "export")


@pytest.mark.parametrize(
    ("name", "stages", "parameters", "sft_rate", "grpo_rate", "nodes"),
    [
        ("rm-r1-7b-instruct", INSTRUCT, 7_615_616_512, 5e-6, 1e-6, 1),
        ("rm-r1-14b-instruct", INSTRUCT, 14_770_033_664, 3e-6, 7e-7, 2),
        ("rm-r1-32b-instruct", INSTRUCT, 32_763_876_352, 2e-6, 5e-7, 4),
        ("rm-r1-7b-reasoning", ("data", "grpo", "export"), 7_615_616_512, None, 1e-6, 1),
        ("rm-r1-14b-reasoning", ("data", "grpo", "export"), 14_770_033_664, None, 1e-6, 2),
        ("rm-r1-32b-reasoning", ("data", "grpo", "export"), 32_763_876_352, None, 8e-7, 4),
    ],
)
def test_rm_r1s_recipes_are_those_of_the_paper(
    name: str, stages: tuple[str, ...], parameters: int, sft_rate: float | None, grpo_rate: float, nodes: int
) -> None:
    read = read_recipe(name, Path("out"))
    assert read.stages == stages
    assert forecast(read).parameters == parameters
    family = "reasoning" if sft_rate is None else "cor"
    plan = read.grpo
    assert plan
    assert (plan.learning_rate, plan.prompt, read.machine.nodes) == (grpo_rate, family, nodes)
    assert plan.learning_rate == grpo.learning_rate(parameters, "cor" if sft_rate else "reasoning", adapters=False)
    assert (plan.group, plan.temperature, plan.kl, plan.clip, plan.epochs) == (7, 1, 1e-3, 0.2, 1)
    assert (plan.rollout_size, plan.batch_size) == (1024, 128)
    assert (plan.max_prompt_tokens, plan.max_completion_tokens) == (4096, 8192)
    assert (plan.trl["vllm_tensor_parallel_size"], plan.trl["vllm_gpu_memory_utilization"]) == (4, 0.4)
    if sft_rate:
        assert read.sft
        assert read.sft.learning_rate == sft_rate == sft.learning_rate(parameters, adapters=False)
        assert (read.sft.batch_size, read.sft.epochs, read.sft.max_length) == (128, 1, 12288)


def test_a_table_for_a_person(rmr1: list[str], tmp_path: Path) -> None:
    given = [*rmr1, "train", "run", "rm-r1-7b-instruct", "--out", str(tmp_path), "--dry-run"]
    lines = processes.run_on_a_terminal(given).stdout.replace("\r", "").splitlines()
    assert "  learning_rate: 5.0e-06" in lines
    assert any(line.startswith("sft ") and line.endswith("about 8,750   at most 69") for line in lines)
    assert any(line.split() == ["sft", "1.77", "3.33", "1.77", "10.6", "4.88", "0", "0", "22.4"] for line in lines)


def test_rows_are_counted_where_they_are_there(tmp_path: Path) -> None:
    read = recipe(
        tmp_path, OURS + "rows: {traces: 18}\nmodel: {name: m}\nsft:\ngrpo: {rollout_size: 64, batch_size: 8}\n"
    )
    before = {stage.stage: stage for stage in forecast(read).stages}
    assert (before["distill"].rows, before["sft"].rows, before["grpo"].rows) == (20, 18, 80)
    some = recipe(tmp_path, OURS.replace("path: tiny:120", "path: tiny:120, take: 110") + "model: {name: m}\ngrpo:\n")
    assert [stage.rows for stage in forecast(some).stages if stage.stage == "grpo"] == [70]
    assert not any(stage.is_counted or stage.is_done for stage in before.values())
    run(read, ["data", "distill"])
    after = {stage.stage: stage for stage in forecast(read).stages}
    assert (after["distill"].rows, after["sft"].rows, after["grpo"].rows) == (20, 20, 80)
    assert [name for name, stage in after.items() if stage.is_done] == ["data", "distill"]
    assert after["sft"].is_counted


def test_what_will_not_go_well_is_noted(tmp_path: Path) -> None:
    text = OURS + "machine: {gpus: 3, memory_gib: 1}\nmodel: {name: m}\nsft: {batch_size: 8}\ngrpo:\n"
    notes = forecast(recipe(tmp_path, text)).notes
    assert notes[0].startswith("memory is not known without model.shape: m/config.json: No such file")
    assert notes[1:] == (
        "sft: batch_size 8 is no multiple of micro_batch_size 1 times 3 processes",
        "grpo: the 896 completions of a step are no multiple of micro_batch_size 1 times 3 processes",
        "grpo: a rollout takes 1024 pairs, and there are 80",
    )
    shape = "{layers: 28, hidden: 3584, intermediate: 18944, heads: 28, kv_heads: 4, vocab: 152064}"
    notes = forecast(recipe(tmp_path, text.replace("name: m", f"name: m, shape: {shape}"))).notes
    assert any(note.startswith("sft: ") and note.endswith(" GiB are needed, and a GPU has 1") for note in notes)


def test_steps_by_hand() -> None:
    read = read_recipe("rm-r1-7b-instruct", Path("out"))
    assert read.sft
    assert read.grpo
    assert sft_steps(read.sft, 8750, 8) == 69  # 8750 / 128 = 68.4
    assert grpo_steps(read.grpo, 64226) == 496  # 62 whole rollouts of 8 steps
    assert sft_steps(read.sft.model_copy(update={"epochs": 1.5}), 8750, 8) == 104


# --- running -------------------------------------------------------------------------------------------


def test_from_a_recipe_to_traces(command: Command, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(OURS)
    said = command(tmp_path / "recipe.yaml")
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert (told["data"]["kept"], told["distill"]["kept"]) == (120, 20)
    assert said.stderr.startswith(f"data: {tmp_path / 'out' / 'data'}\ndistill: ")
    files = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.json*")}
    assert command(tmp_path / "recipe.yaml").stdout == said.stdout
    assert {file: file.stat().st_mtime_ns for file in files} == files
    other = command(tmp_path / "recipe.yaml", "--seed", 6, "--stage", "data")
    assert (other.returncode, "seed 5, now 6" in other.stderr) == (2, True)


@pytest.mark.parametrize(
    ("stages", "processes", "says"),
    [
        (["merge"], 1, "--stage merge: this recipe has data, distill, sft, grpo, export"),
        ([], 8, "8 processes share one stage, sft or grpo: name it with --stage"),
        (["data"], 8, "8 processes share one stage"),
        (["grpo"], 1, "stage grpo is for 16 processes, and here is 1: .*`accelerate launch .* --stage grpo --out"),
    ],
)
def test_stages_want_their_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stages: list[Any], processes: int, says: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with pytest.raises(ConfigError, match=says):
        run(read_recipe("rm-r1-14b-instruct", tmp_path), stages)


def test_a_batch_that_does_not_come_out_even_is_told_before_any_stage_runs(tmp_path: Path) -> None:
    recipe = read_recipe("tiny", tmp_path)
    for stage in ("sft", "grpo"):
        uneven = getattr(recipe, stage).model_copy(update={"micro_batch_size": 5})
        with pytest.raises(ConfigError, match=rf"^{stage}: .* no multiple of micro_batch_size 5 times 1 processes"):
            run(recipe.model_copy(update={stage: uneven}))
    assert not list(tmp_path.iterdir())


def test_the_launch_line_has_the_seed(rmr1: list[str], tmp_path: Path) -> None:
    given = [*rmr1, "train", "run", "rm-r1-7b-instruct", "--seed", "3", "--stage", "sft", "--out", str(tmp_path)]
    said = processes.run(given)
    assert "train run rm-r1-7b-instruct --seed 3 --stage sft --out" in " ".join(said.stderr.split())


def test_launchers_begin_the_command_as_a_module(tmp_path: Path) -> None:
    """With as many processes as `torchrun` says there are."""
    given = [sys.executable, "-m", "rmr1_sdk.cli", "train", "run", "tiny", "--out", str(tmp_path)]
    said = processes.run(given, env={**os.environ, "WORLD_SIZE": "2"})
    assert said.returncode == 2
    assert "error: 2 processes share one stage, sft or grpo" in said.stderr


def test_a_stage_that_there_is_not_is_refused(command: Command) -> None:
    said = command("tiny", "--stage", "dpo")
    assert (said.returncode, said.stdout) == (2, "")
    assert "--stage: unknown stage 'dpo'; expected one of data, distill, model, sft, merge, grpo, export" in said.stderr
