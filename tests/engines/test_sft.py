"""TRL's real trainer on this CPU, with models made from nothing."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import Backend, ConfigError, DataError, Judge
from rmr1_sdk.backends.transformers import InMemory, Transformers
from rmr1_sdk.statistics.intervals import Share
from rmr1_sdk.training import domain
from rmr1_sdk.training.data.held_out import HeldOut
from rmr1_sdk.training.learn import sft as stage
from rmr1_sdk.training.learn.sft import Example, SftResult, example, make_trainer, sft
from rmr1_sdk.training.learn.trainers import load
from tests import processes
from tests.engines.training import EASY, on_the_hub, plan, traces, write
from tests.engines.trl_policy import UNTESTED_VLLM

pytest.importorskip("trl", reason="needs TRL; `make test-engines` installs it")
pytestmark = pytest.mark.filterwarnings(f"ignore:{UNTESTED_VLLM}")

TRACES = traces(12)
HELD_OUT = list(domain.generate(4, seed=2, domain=EASY))


def prepared(folder: Path, **given: Any) -> tuple[Any, list[Example]]:
    """A trainer that has not begun, and the traces as it should see them."""
    chosen = plan(folder, TRACES, **given)
    model, tokenizer = load(chosen.model, lora=False)
    examples = [example(trace, tokenizer) for trace in TRACES]
    return make_trainer(chosen, folder / "checkpoints", model, tokenizer, examples), examples


def batches(trainer: Any) -> list[dict[str, Any]]:
    return list(trainer.get_train_dataloader())


@pytest.mark.parametrize("packing", [False, True])
def test_real_batches_have_labels_on_what_the_judge_writes_alone(tmp_path: Path, packing: bool) -> None:
    trainer, _ = prepared(tmp_path, packing=packing, micro_batch_size=4, batch_size=4)
    decode = trainer.processing_class.decode
    written, verdicts, read = [], [], []
    for batch in batches(trainer):
        assert packing == (batch["input_ids"].shape[0] == 1) == ("attention_mask" not in batch)
        ids, labels, verdict = (batch[name].flatten().tolist() for name in ("input_ids", "labels", "verdict"))
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
        assert all(label != -100 for label, inside in zip(labels, verdict, strict=True) if inside)
        written += decode([label for label in labels if label != -100]).split("</s>")[:-1]
        verdicts += decode([token for token, inside in zip(ids, verdict, strict=True) if inside]).split("</answer>")[
            :-1
        ]
        read.append(decode([token for token, label in zip(ids, labels, strict=True) if label == -100]))
    assert sorted(written) == sorted(trace.text for trace in TRACES)
    assert sorted(verdicts) == sorted(f"<answer>[[{trace.pair.label}]]" for trace in TRACES)
    assert "".join(read).count("<|user|>[Client Question]") == len(TRACES)
    assert "<answer>" not in "".join(read)


def test_the_loss_is_the_mean_with_the_verdict_weighted(tmp_path: Path) -> None:
    """Against a forward pass of each trace alone, and sums by hand."""
    import torch

    trainer, examples = prepared(tmp_path, verdict_weight=8, micro_batch_size=4, batch_size=12)
    sums = []
    for each in examples:
        with torch.no_grad():
            logits = trainer.model(input_ids=torch.tensor([each.input_ids])).logits[0].double()
        nll = -torch.log_softmax(logits, -1)
        for at, (label, inside) in enumerate(zip(each.labels, each.verdict, strict=True)):
            if label != -100:
                sums.append((8.0 if inside else 1.0, float(nll[at - 1, label]), inside))
    by_hand = sum(weight * loss for weight, loss, _ in sums) / sum(weight for weight, _, _ in sums)
    of_verdict = [loss for _, loss, inside in sums if inside]
    trainer.train()
    [logged] = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert logged["loss"] == pytest.approx(by_hand, rel=1e-5)
    assert logged["verdict_loss"] == pytest.approx(sum(of_verdict) / len(of_verdict), rel=1e-5)


def test_packed_traces_do_not_see_each_other(tmp_path: Path) -> None:
    """The first step's loss and gradient are those without packing, however traces are put together."""
    logged = []
    for options in ({}, {"packing": True, "micro_batch_size": 2}, {"packing": True, "micro_batch_size": 1}):
        given = {"verdict_weight": 3, "batch_size": 12, "micro_batch_size": 12, "max_length": 300, **options}
        trainer, _ = prepared(tmp_path, **given)
        trainer.train()
        logged.append(next(entry for entry in trainer.state.log_history if "loss" in entry))
    assert [entry["loss"] for entry in logged[1:]] == pytest.approx([logged[0]["loss"]] * 2, rel=1e-5)
    assert [entry["grad_norm"] for entry in logged[1:]] == pytest.approx([logged[0]["grad_norm"]] * 2, rel=1e-4)


def test_traces_that_are_too_long_are_left_out_and_counted(tmp_path: Path) -> None:
    chosen = plan(tmp_path, TRACES)
    _, tokenizer = load(chosen.model, lora=False)
    lengths = sorted(len(example(trace, tokenizer).input_ids) for trace in TRACES)
    result = sft(chosen.model_copy(update={"max_length": lengths[4]}), tmp_path / "out")
    fitting = sum(length <= lengths[4] for length in lengths)
    assert (result.traces, result.too_long) == (fitting, 12 - fitting)
    assert fitting < 12
    with pytest.raises(DataError, match=r"traces\.jsonl: no trace has at most 8 tokens"):
        sft(chosen.model_copy(update={"max_length": 8}), tmp_path / "another")


def test_batches_that_do_not_come_out_even_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch_size 8 is no multiple of micro_batch_size 3 times 1 process"):
        sft(plan(tmp_path, TRACES, micro_batch_size=3), tmp_path / "out")


@pytest.mark.parametrize("family", ["cor", "reasoning"])
def test_both_families_are_learned_and_judged(tmp_path: Path, family: Any) -> None:
    options = {"packing": True, "gradient_checkpointing": True, "epochs": 4}  # the first step only warms up
    result = sft(plan(tmp_path, traces(16, family), HELD_OUT, **options), tmp_path / "out")
    assert (result.traces, result.too_long) == (16, 0)
    assert result.before
    assert result.best
    assert [figures.readable.of for figures in (result.before, result.best)] == [2 * len(HELD_OUT)] * 2
    before, after = (weights(tmp_path / name / "model.safetensors") for name in ("base", "out/checkpoint"))
    assert any(not before[name].equal(after[name]) for name in after)
    assert Transformers(tmp_path / "out" / "checkpoint").capabilities.prompt == family


@pytest.mark.parametrize(("best", "left"), [([0], 0), ([1], 1), ([1, 3], 3), ([], 4)])
def test_the_best_on_held_out_pairs_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: list[int], left: int
) -> None:
    """Judged before the first step and every second one of eight, and of equals the latest."""
    seen: list[dict[str, Any]] = []

    def judged(model: Any, *_: Any, **__: Any) -> HeldOut:
        share = Share(share=0.6 if len(seen) in best else 0.5, low=0, high=1, of=4)
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return HeldOut(accuracy=share, both_right=share, readable=share, first=None, consistent=None, quotes_found=None)

    monkeypatch.setattr(stage, "judged", judged)
    chosen = plan(tmp_path, traces(16), HELD_OUT, batch_size=4, micro_batch_size=4, epochs=2, every=2)
    result = sft(chosen, tmp_path / "out")
    assert (result.best_step, result.steps, len(seen)) == (2 * left, 8, 5)
    assert result.best
    assert result.best.accuracy.share == (0.6 if best else 0.5)
    ours = weights(tmp_path / "out" / "checkpoint" / "model.safetensors")
    assert [all(ours[name].equal(then[name]) for name in ours) for then in seen] == [at == left for at in range(5)]


def test_a_folder_that_is_done_is_left_alone(tmp_path: Path) -> None:
    chosen = plan(tmp_path, TRACES)
    first = sft(chosen, tmp_path / "out")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*")}
    assert sft(chosen, tmp_path / "out") == first
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*")} == before


def test_after_kill_9_the_same_command_goes_on_and_ends_with_the_same_files(tmp_path: Path, rmr1: list[str]) -> None:
    chosen = plan(tmp_path, traces(64), HELD_OUT, batch_size=4, micro_batch_size=2, epochs=2, every=8)
    whole = tmp_path / "whole"
    sft(chosen, whole)
    command = [
        *(*rmr1, "train", "sft", tmp_path / "traces.jsonl", "--model", tmp_path / "base"),
        *(
            "--held-out",
            tmp_path / "held_out.jsonl",
            "--learning-rate",
            3e-3,
            "--batch-size",
            4,
            "--micro-batch-size",
            2,
        ),
        *("--max-length", 512, "--no-packing", "--no-gradient-checkpointing", "--epochs", 2, "--every", 8),
        *("--out", tmp_path / "killed"),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(_threads())}
    with processes.Child(command, env=environment) as first:
        first.until(lambda: list((tmp_path / "killed").glob("checkpoints/checkpoint-*/whole")))
        first.kill()
    steps = [json.loads(row)["step"] for row in (tmp_path / "killed" / "figures.jsonl").read_text().splitlines()]
    assert 8 <= max(steps) < 32
    with (tmp_path / "killed" / "figures.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # as if it had been killed while it wrote
    (tmp_path / "killed" / "checkpoints" / "checkpoint-99").mkdir()  # or while it saved
    again = processes.run(command, env=environment, check=True)
    assert SftResult.model_validate_json(again.stdout).steps == 32
    assert _digests(tmp_path / "killed") == _digests(whole)
    assert not (tmp_path / "killed" / "checkpoints").exists()


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())


def _digests(folder: Path) -> dict[str, str]:
    outputs: dict[str, str] = json.loads((folder / "step.json").read_text())["outputs"]
    assert {"figures.jsonl", "result.json", "checkpoint/model.safetensors", "checkpoint/rmr1.json"} <= set(outputs)
    return outputs


def test_adapters_are_trained_and_judge_with_their_base(tmp_path: Path) -> None:
    chosen = plan(tmp_path, TRACES, lora_rank=4, learning_rate=1e-2, epochs=4)
    sft(chosen, tmp_path / "out")
    checkpoint = tmp_path / "out" / "checkpoint"
    assert not list(checkpoint.glob("model*"))
    moved = [tensor for name, tensor in weights(checkpoint / "adapter_model.safetensors").items() if "lora_B" in name]
    assert moved
    assert all(bool(tensor.any()) for tensor in moved)  # they begin as zeros
    named = json.loads((checkpoint / "adapter_config.json").read_text())["target_modules"]
    assert named == sorted(named)  # the set that peft writes down has another order in every process
    assert len(named) == 7
    adapted = Transformers(tmp_path / "base", adapter=str(checkpoint))
    assert adapted.capabilities.prompt == "cor"  # its base names none
    assert _texts(adapted) != _texts(Transformers(tmp_path / "base"))


def weights(file: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(file)
    return tensors


def _texts(engine: Backend) -> list[str]:
    """What it writes of the held-out pairs, drawn with the same seeds for every engine."""
    options: dict[str, Any] = {
        "prompt": "cor",
        "force_verdict": False,
        "ask_again": False,
        "sampling": {"max_tokens": 24, "temperature": 1.0},
    }
    with Judge(engine, **options) as judge:
        return [verdict.text for judgment in judge.compare_many(HELD_OUT) for verdict in judgment.verdicts]


def test_a_model_in_memory_answers_as_its_checkpoint_does(tmp_path: Path) -> None:
    chosen = plan(tmp_path, TRACES)
    model, tokenizer = load(chosen.model, lora=False)
    ours = _texts(InMemory(model.eval(), tokenizer, name="x"))
    assert ours == _texts(Transformers(chosen.model))
    assert len(set(ours)) > 1


@pytest.mark.parametrize(
    ("stage", "flags"),
    [
        ("sft", ["--batch-size", 8, "--max-length", 512, "--no-packing"]),
        ("grpo", ["--rollout-size", 2, "--batch-size", 2, "--group", 2, "--max-completion-tokens", 4]),
    ],
)
def test_which_commit_of_a_model_on_the_hub_was_trained_is_noted(
    tmp_path: Path, rmr1: list[str], stage: str, flags: list[Any]
) -> None:
    """With the hub's cache as a download leaves it, in a process of its own, for its place is looked up on import."""
    chosen = plan(tmp_path, TRACES[:8])
    data = {"sft": chosen.traces, "grpo": write(tmp_path / "pool.jsonl", HELD_OUT)}[stage]
    commit = on_the_hub(Path(chosen.model), tmp_path / "home")
    shared = [
        "--micro-batch-size",
        4,
        "--no-gradient-checkpointing",
        "--model",
        "someone/tiny",
        "--out",
        tmp_path / "x",
    ]
    command = [*rmr1, "train", stage, data, *flags, *shared]
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    ran = processes.run(command, cwd=root, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert json.loads((tmp_path / "x" / "step.json").read_text())["model_commit"] == commit


def test_two_processes_learn_what_one_does(tmp_path: Path, rmr1: list[str]) -> None:
    """Begun by torchrun, which is what `accelerate launch` begins processes with; on CPUs alone that wants MPI."""
    chosen = plan(tmp_path, TRACES, HELD_OUT, micro_batch_size=2, batch_size=4, verdict_weight=8)
    sft(chosen, tmp_path / "one")
    (tmp_path / "run.py").write_text(rmr1[-1])
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2, tmp_path / "run.py"),
        *("train", "sft", tmp_path / "traces.jsonl", "--model", tmp_path / "base", "--batch-size", 4),
        *("--held-out", tmp_path / "held_out.jsonl", "--learning-rate", 3e-3, "--micro-batch-size", 2),
        *("--max-length", 512, "--no-packing", "--no-gradient-checkpointing", "--verdict-weight", 8),
        *("--out", tmp_path / "two"),
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    ran = processes.run(command, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    one, two = (
        [json.loads(row) for row in (tmp_path / name / "figures.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [row["step"] for row in one] == [row["step"] for row in two] == [0, 1, 2, 3, 3]
    for ours, theirs in zip(one[1:-2], two[1:-2], strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-4)
        assert theirs["verdict_loss"] == pytest.approx(ours["verdict_loss"], rel=1e-4)
        assert theirs["grad_norm"] == pytest.approx(ours["grad_norm"], rel=1e-3)
    assert _digests(tmp_path / "two").keys() == _digests(tmp_path / "one").keys()
