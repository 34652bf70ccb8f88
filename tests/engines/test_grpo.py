"""The GRPO stage with the real trainer, on this CPU."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.errors import ConfigError
from rmr1_sdk.training.grpo import GrpoPlan, grpo
from tests.engines import judge_policy
from tests.engines.judge_policy import pairs_file, plan, scripted, watched

pytest.importorskip("trl", reason="needs TRL; `make test-engines` installs it")
pytestmark = pytest.mark.filterwarnings("ignore:TRL currently supports vLLM versions")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, a pool of 32 pairs, and 12 pairs held out."""
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
