"""The GRPO stage with the real trainer, on this CPU."""

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from rmr1_sdk.backends.checkpoint import ChatTokenizer
from rmr1_sdk.backends.transformers import Transformers
from rmr1_sdk.errors import ConfigError
from rmr1_sdk.prompts import COR
from rmr1_sdk.statistics.intervals import Share
from rmr1_sdk.training.data.held_out import HeldOut, read_labelled
from rmr1_sdk.training.learn import grpo as stage
from rmr1_sdk.training.learn import trainers
from rmr1_sdk.training.learn.grpo import GrpoPlan, GrpoResult, _settings, grpo
from rmr1_sdk.types import Pair
from tests import processes
from tests.engines import judge_policy
from tests.engines.judge_policy import pairs_file, plan, scripted, slow, together, watched
from tests.engines.trl_policy import UNTESTED_VLLM, load

pytest.importorskip("trl", reason="needs TRL; `make test-engines` installs it")
pytestmark = pytest.mark.filterwarnings(f"ignore:{UNTESTED_VLLM}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, a pool of 32 pairs, and 12 pairs held out."""
    load("GRPOTrainer")
    made = tmp_path_factory.mktemp("grpo")
    judge_policy.checkpoint(made / "model")
    pairs_file(made / "pool.jsonl", 32)
    pairs_file(made / "held_out.jsonl", 12, seed=9)
    return made


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "figures.jsonl").read_text().splitlines()]


def log_probabilities(checkpoint: Path, batch: dict[str, Any]) -> Any:
    """Of each completion of a rollout, [completions]."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(checkpoint)
    prompt, written = (torch.tensor(batch[f"{name}_ids"]) for name in ("prompt", "completion"))
    masks = [torch.tensor(batch[f"{name}_mask"]) for name in ("prompt", "completion")]
    with torch.no_grad():
        ids, mask = torch.cat([prompt, written], 1), torch.cat(masks, 1)
        logits = model(input_ids=ids, attention_mask=mask).logits[:, prompt.shape[1] - 1 : -1]
    of_tokens = torch.log_softmax(logits, -1).gather(-1, written[..., None])[..., 0]
    return (of_tokens * masks[1]).sum(-1)


def test_a_step_makes_what_was_rewarded_more_likely(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen = watched(monkeypatch)
    one = plan(folder, pool=pairs_file(folder / "one.jsonl", 8), batch_size=8, micro_batch_size=32)
    result = grpo(one, folder / "a step")
    [batch] = seen
    assert (result.pairs, result.steps, result.best_step) == (8, 1, 1)
    advantages = torch.tensor(batch["advantages"])
    assert {reward for [reward] in batch["rewards"]} == {-1.0, 1.0}
    assert [reward > 0 for [reward], a in zip(batch["rewards"], batch["advantages"], strict=True) if a] == [
        a > 0 for a in batch["advantages"] if a
    ]
    moved = log_probabilities(folder / "a step" / "checkpoint", batch) - log_probabilities(folder / "model", batch)
    assert moved[advantages > 0].mean() > 0.1
    assert moved[advantages < 0].mean() < -0.1
    assert json.loads((folder / "a step" / "checkpoint" / "rmr1.json").read_text()) == {"prompt": "cor"}
    assert not (folder / "a step" / "checkpoints").exists()


def test_groups_all_alike_give_no_gradient_and_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, *["one"] * 4, *[judge_policy.A] * 3, judge_policy.B)  # every other group has no verdict
    seen = watched(monkeypatch)
    half = grpo(plan(folder, kl=0), folder / "half")
    alike = [len({reward for [reward] in group}) == 1 for batch in seen for group in _groups(batch["rewards"])]
    assert half.zero_variance == sum(alike) / len(alike) == 0.5
    for batch in seen:
        in_order = [len({reward for [reward] in group}) == 1 for group in _groups(batch["rewards"])]
        flat = [a for group in _groups(batch["advantages"]) for a in group]
        assert [a == 0 for a in flat] == [is_alike for is_alike in in_order for _ in range(4)]
    assert all(row["grad_norm"] > 0 for row in rows(folder / "half"))

    scripted(monkeypatch, "one")
    none = grpo(plan(folder, kl=0), folder / "none")
    assert (none.zero_variance, none.reward) == (1, -1)
    assert {row["grad_norm"] for row in rows(folder / "none")} == {0}


def _groups(values: list[Any]) -> list[list[Any]]:
    return [values[at : at + 4] for at in range(0, len(values), 4)]


def test_parts_of_the_trace_count_with_their_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [Pair(question=f"{n}?", a="one", b="two", label="AB"[n % 2], reference="one") for n in range(8)]  # type: ignore[arg-type]
    pool = folder / "cited.jsonl"
    pool.write_text("".join(pair.model_dump_json(exclude_defaults=True) + "\n" for pair in pairs))
    cites, lies = (f"<quote_A> {word} </quote_A> " for word in ("one", "two"))
    scripted(monkeypatch, cites + judge_policy.A, lies + judge_policy.A, judge_policy.B, cites + "one")
    seen = watched(monkeypatch)
    grpo(plan(folder, pool=pool, reward={"quotes": 0.5, "solution": 0}, max_completion_tokens=6), folder / "cited")
    [batch] = seen
    quotes = [1.0, 0.0, 0.0, 1.0]
    of_a = [*zip([1.0, 1.0, -1.0, -1.0], quotes, strict=True)]
    of_b = [*zip([-1.0, -1.0, 1.0, -1.0], quotes, strict=True)]
    whole = [(v + 0.5 * q) for v, q in of_a], [(v + 0.5 * q) for v, q in of_b]
    by_hand = [[(r - mean(group)) / (stdev(group) + 1e-4) for r in group] for group in whole]
    for rewards, advantages in zip(_groups(batch["rewards"]), _groups(batch["advantages"]), strict=True):
        pairs_of = [(verdict, quote) for verdict, quote, _ in rewards]
        assert pairs_of in (of_a, of_b)
        assert advantages == pytest.approx(by_hand[pairs_of == of_b], abs=1e-5)
        assert [solution for *_, solution in rewards] == [0.0] * 4  # measured, at no weight
    first = rows(folder / "cited")[0]
    assert first["rewards"] == pytest.approx({"verdict": -0.25, "quotes": 0.5, "solution": 0.0})
    assert first["reward"] == pytest.approx(0.0)


def test_a_run_that_collapses_is_stopped_and_leaves_the_best(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the judge learns to name a side; then a reward that was got wrong pays for naming none."""
    learned = folder / "learned"
    grpo(plan(folder, epochs=3), learned)
    wrong = {"model": str(learned / "checkpoint"), "held_out": folder / "held_out.jsonl", "epochs": 10}
    monkeypatch.setattr(stage, "verdict_reward", lambda texts, *_: [-1.0 if "[[" in text else 1.0 for text in texts])
    result = grpo(plan(folder, **wrong), folder / "collapsed")
    assert result.before
    assert result.before.readable.share > 0.9
    assert result.stopped
    assert f"after step {result.steps}: readable was" in result.stopped
    assert result.steps < 80
    evaluations = [row for row in rows(folder / "collapsed") if "held_out" in row]
    accuracies = [row["held_out"]["accuracy"]["share"] for row in evaluations]
    assert [row["held_out"]["readable"]["share"] < 0.9 for row in evaluations[-2:]] == [True, True]
    assert result.best_step == evaluations[accuracies.index(max(accuracies))]["step"]
    assert result.best
    assert result.best.accuracy.share == max(accuracies)
    if result.best_step == 0:
        left, before = (weights(out / "checkpoint") for out in (folder / "collapsed", learned))
        assert left.keys() == before.keys()
        assert all(left[name].equal(before[name]) for name in left)


def weights(checkpoint: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(checkpoint / "model.safetensors")
    return tensors


@pytest.mark.parametrize("best", [0, 2, 3])
def test_the_best_on_held_out_pairs_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    """Judged before the first step and after each of four rollouts, of two steps each."""
    import torch

    seen: list[dict[str, Any]] = []
    canaries = len(read_labelled(folder / "held_out.jsonl"))

    def judged(model: Any, tokenizer: Any, prompt: str, pairs: Any, *, max_tokens: int) -> HeldOut:
        if len(pairs) == canaries:
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
        share = Share(share=0.6 if len(seen) - 1 in (best, 3) else 0.5, low=0, high=1, of=12)
        return HeldOut(accuracy=share, both_right=share, readable=share, first=None, consistent=None, quotes_found=None)

    monkeypatch.setattr(stage, "judged", judged)
    out = folder / f"best {best}"
    canary = pairs_file(folder / "canary.jsonl", 4, seed=3)
    result = grpo(plan(folder, held_out=folder / "held_out.jsonl", canary=canary), out)
    assert (result.best_step, result.steps, len(seen), result.stopped) == (2 * best, 8, 5, None)
    left = weights(out / "checkpoint")
    assert all(torch.equal(left[name], seen[best][name]) for name in left)
    assert any(not torch.equal(left[name], seen[4][name]) for name in left)
    assert {"canary", "held_out", "step"} == set(rows(out)[0])


def test_after_kill_9_the_command_goes_on_and_ends_with_the_same_files(folder: Path, rmr1: list[str]) -> None:
    whole = grpo(slow(folder), folder / "whole")
    assert (whole.steps, whole.stopped) == (8, None)
    killed = run([sys.executable, "-m", "tests.engines.judge_policy", "killed", folder])
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    left = rows(folder / "killed")
    assert max(row["step"] for row in left) == 4
    with (folder / "killed" / "figures.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # as if it had been killed while it wrote
    (folder / "killed" / "checkpoints" / "checkpoint-6").mkdir()  # or while it saved
    options = {
        "--model": folder / "model", "--held-out": folder / "held_out.jsonl", "--out": folder / "killed",
        "--group": 4, "--rollout-size": 8, "--batch-size": 4, "--micro-batch-size": 16, "--max-completion-tokens": 4,
        "--learning-rate": 1e-4, "--collapse-margin": 1, "--every": 1, "--seed": 1,
    }  # fmt: skip
    flags = [word for option in options.items() for word in option]
    again = run([*rmr1, "train", "grpo", folder / "pool.jsonl", *flags])
    assert again.returncode == 0, again.stderr[-3000:]
    assert GrpoResult.model_validate_json(again.stdout) == whole
    assert rows(folder / "killed")[: len(left)] == left
    one, other = (json.loads((folder / name / "step.json").read_text())["outputs"] for name in ("whole", "killed"))
    assert one == other
    assert {"figures.jsonl", "result.json", "checkpoint/model.safetensors", "checkpoint/rmr1.json"} <= set(one)
    before = {file: file.stat().st_mtime_ns for file in (folder / "whole").rglob("*")}
    assert grpo(slow(folder), folder / "whole") == whole
    assert {file: file.stat().st_mtime_ns for file in (folder / "whole").rglob("*")} == before


@pytest.mark.parametrize("collapses", [False, True])
def test_a_run_that_was_over_is_not_gone_on_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, collapses: bool
) -> None:
    """Something fails after the last step; the same call then does what was left to do."""

    def judged(*_: Any, **__: Any) -> HeldOut:
        shares.append(0.5 if collapses and shares else 0.9)
        share = Share(share=shares[-1], low=0, high=1, of=12)
        return HeldOut(accuracy=share, both_right=share, readable=share, first=None, consistent=None, quotes_found=None)

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    shares: list[float] = []
    monkeypatch.setattr(stage, "judged", judged)
    out, given = folder / f"over {collapses}", plan(folder, held_out=folder / "held_out.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(trainers, "leave", full)
        with pytest.raises(OSError, match="no space left"):
            grpo(given, out)
    before = rows(out)
    result = grpo(given, out)
    assert rows(out) == before
    assert len(shares) == (3 if collapses else 5)
    assert (result.steps, result.best_step) == ((4, 0) if collapses else (8, 0))
    assert (result.stopped is not None) == collapses


def run(command: list[Any]) -> "subprocess.CompletedProcess[str]":
    """A process of its own, with as many threads as this one: figures depend on that."""
    import torch

    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return processes.run(command, cwd=Path(__file__).parents[2], env=environment)


def test_processes_wait_for_the_first_while_it_judges(folder: Path) -> None:
    """On GPUs; on CPUs alone transformers does not hand the time on."""
    from trl import GRPOConfig, SFTConfig

    ours = GRPOConfig(output_dir=str(folder / "waits"), **_settings(plan(folder), 1e-3))
    assert ours.ddp_timeout_delta >= timedelta(hours=24) > SFTConfig(output_dir="x", use_cpu=True).ddp_timeout_delta


def test_two_processes_do_what_one_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same completions get the same rewards, advantages and gradients. Begun by torchrun, as in test_trl.py."""
    both = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ran = run([sys.executable, *both, "-m", "tests.engines.judge_policy", "two", folder])
    assert ran.returncode == 0, ran.stderr[-3000:]
    first, second = (json.loads((folder / f"seen-{rank}.json").read_text()) for rank in (0, 1))
    scripted(monkeypatch, *judge_policy.TURNS)
    seen = watched(monkeypatch)
    grpo(together(folder), folder / "one")
    assert len(seen) == len(first) == 8
    for batch, of_first, of_second in zip(seen, first, second, strict=True):
        assert batch["rewards"] == of_first["rewards"] == of_second["rewards"]  # gathered: each knows them all
        assert of_first["advantages"] + of_second["advantages"] == pytest.approx(batch["advantages"], abs=1e-6)
    for name in ("grad_norm", "loss", "entropy", "held_out"):
        alone, parted = ([row[name] for row in rows(folder / out) if name in row] for out in ("one", "two"))
        assert alone
        assert parted == (alone if name == "held_out" else pytest.approx(alone, rel=1e-3, abs=1e-6)), name


def test_adapters_learn_and_long_prompts_are_left_out(folder: Path) -> None:
    lengths = [len(ChatTokenizer(tokenizer(folder)).tokens(text)) for text in prompts_of(folder)]
    longest = sorted(set(lengths))[-2]
    given = {"lora_rank": 2, "gradient_checkpointing": True, "max_prompt_tokens": longest, "rollout_size": 4}
    result = grpo(plan(folder, **given), folder / "adapters")
    assert result.too_long == sum(length > longest for length in lengths) > 0
    assert result.pairs == 32 - result.too_long
    checkpoint = folder / "adapters" / "checkpoint"
    assert not (checkpoint / "model.safetensors").exists()
    assert Transformers(folder / "model", adapter=str(checkpoint)).capabilities.prompt == "cor"
    moved = [tensor.abs().max() for name, tensor in adapters(checkpoint).items() if "lora_B" in name]
    assert min(moved) > 0


def adapters(checkpoint: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(checkpoint / "adapter_model.safetensors")
    return tensors


def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder / "model")


def prompts_of(folder: Path) -> list[str]:
    speech = ChatTokenizer(tokenizer(folder))
    return [speech.rendered(COR.render(pair)) for pair in read_labelled(folder / "pool.jsonl")]


def test_the_policy_reads_what_a_judge_reads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(monkeypatch)
    grpo(plan(folder, epochs=0.25), folder / "read")
    speech = ChatTokenizer(tokenizer(folder))
    ours = {tuple(speech.tokens(text)) for text in prompts_of(folder)}
    for ids, mask in zip(seen[0]["prompt_ids"], seen[0]["prompt_mask"], strict=True):
        assert tuple(token for token, here in zip(ids, mask, strict=True) if here) in ours


class Told(Exception):
    """What the trainer would have been told."""


def told(plan_: GrpoPlan, out: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def trainer(**given: Any) -> None:
        raise Told(given["args"])

    monkeypatch.setattr("trl.GRPOTrainer", trainer)
    with pytest.raises(Told) as caught:
        grpo(plan_, out)
    return caught.value.args[0]


def test_by_default_the_settings_are_those_of_rm_r1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pairs_file(folder / "large.jsonl", 1024)
    args = told(GrpoPlan(model=str(folder / "model"), pool=pool), folder / "defaults", monkeypatch)
    expected = {
        "num_generations": 7, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "learning_rate": 1e-6,
        "gradient_accumulation_steps": 128 * 7, "steps_per_generation": 1024 * 7, "generation_batch_size": 1024 * 7,
        "num_iterations": 1, "num_train_epochs": 1, "beta": 1e-3, "use_bias_correction_kl": False, "epsilon": 0.2,
        "epsilon_high": None, "max_grad_norm": 1.0, "entropy_coef": 0.0, "max_completion_length": 8192,
        "scale_rewards": "group", "loss_type": "grpo", "gradient_checkpointing": True, "save_steps": 40,
        "mask_truncated_completions": False, "warmup_steps": 0, "use_vllm": False, "reward_weights": [1.0],
    }  # fmt: skip
    assert {name: getattr(args, name) for name in expected} == expected
    assert args.lr_scheduler_type.value == "constant"


def test_options_of_trl_are_handed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm = {"use_vllm": True, "vllm_mode": "colocate", "vllm_tensor_parallel_size": 4, "loss_type": "bnpo"}
    args = told(plan(folder, trl=vllm), folder / "vllm", monkeypatch)
    assert {name: getattr(args, name) for name in vllm} == vllm


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"trl": {"vllm_speed": 2}}, "--trl: unknown field of TRL's GRPOConfig 'vllm_speed'"),
        ({"trl": {"beta": 0}}, "--trl beta: that is set by this command's own options"),
        ({"micro_batch_size": 3}, "the 16 completions of a step are no multiple of micro_batch_size 3 times 1 process"),
        ({"rollout_size": 64}, "32 of 32 pairs have at most 4096 tokens, and a rollout takes 64"),
        ({"prompt": "core"}, "unknown prompt 'core'"),
    ],
)
def test_plans_that_cannot_be_carried_out(folder: Path, tmp_path: Path, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        grpo(plan(folder, **given), tmp_path)
