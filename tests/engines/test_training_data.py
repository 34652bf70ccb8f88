"""What reading training data needs other libraries for: Parquet, data sets laid out as on the hub, real tokenizers."""

import json
from pathlib import Path

import pytest

from rmr1_sdk import ConfigError, DataError, Pair
from rmr1_sdk.prompts import COR
from rmr1_sdk.training.data.prepare import DataPlan, prepare, token_counter
from rmr1_sdk.training.data.sources import Source, read_pairs

ROWS = [
    {
        "chosen": [{"role": "user", "content": f"Number {n}?"}, {"role": "assistant", "content": f"It is {n}."}],
        "rejected": [{"role": "user", "content": f"Number {n}?"}, {"role": "assistant", "content": "No."}],
        "source": "magpie_ultra" if n % 3 == 0 else "helpsteer2",
    }
    for n in range(30)
]
WANTED = [
    Pair(question=f"Number {n}?", a=f"It is {n}.", b="No.", label="A", metadata={"source": "helpsteer2"})
    for n in range(30)
    if n % 3
]


def pairs(source: Source) -> list[Pair]:
    return [pair.model_copy(update={"id": None}) for pair in read_pairs(source) if isinstance(pair, Pair)]


def test_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "skywork.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert pairs(Source(path=str(path), drop=("magpie_ultra",))) == WANTED
    path.write_bytes(b"no")
    with pytest.raises(DataError, match=r"skywork\.parquet: not Parquet"):
        list(read_pairs(Source(path=str(path))))


def test_a_data_set_as_the_hub_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real library reads a folder in the place of a name."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "set" / "data").mkdir(parents=True)
    file = tmp_path / "set" / "data" / "train-00000-of-00001.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    name = f"hub:{tmp_path / 'set'}"
    assert pairs(Source(path=name, drop=("magpie_ultra",))) == WANTED
    with pytest.raises(ConfigError, match=r"split 'test': "):
        list(read_pairs(Source(path=name, split="test")))
    with pytest.raises(ConfigError, match="hub:none/none, split 'train': "):
        list(read_pairs(Source(path="hub:none/none")))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One token a word, and a chat template that adds two tokens a turn and one at the end."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    inner = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")
    fast.chat_template = "{% for m in messages %}begin {{ m.content }} end {% endfor %}answer"
    fast.save_pretrained(folder)
    return folder


def test_prompts_that_are_too_long_are_dropped_and_not_cut(tokenizer: Path, tmp_path: Path) -> None:
    messages = COR.render(WANTED[0])
    words = sum(len(message.content.split()) for message in messages)
    assert token_counter(str(tokenizer))(messages) == words + 2 * len(messages) + 1
    path = tmp_path / "x.jsonl"
    rows = [{"prompt": "Say more.", "chosen": "word " * n, "rejected": "no"} for n in range(1, 21)]
    path.write_text("\n".join(map(json.dumps, rows)))
    limit = token_counter(str(tokenizer))(COR.render(Pair(question="Say more.", a="word " * 15, b="no")))
    plan = DataPlan(
        sources=(Source(path=str(path)),), parts={"rl": "rest"}, tokenizer=str(tokenizer), max_prompt_tokens=limit
    )
    card = prepare(plan, tmp_path / "out")
    assert (card.kept, card.dropped) == (15, {"too long": 5})
    lengths = card.parts["rl"].prompt_tokens
    assert lengths is not None
    assert lengths.longest == limit
    details = [json.loads(line)["detail"] for line in (tmp_path / "out" / "removed.jsonl").read_text().splitlines()]
    assert details == [f"{limit + n} tokens" for n in range(1, 6)]
    assert max(len(row["a"]) for row in map(json.loads, (tmp_path / "out" / "rl.jsonl").read_text().splitlines())) == 75


def test_a_tokenizer_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=f"--tokenizer {tmp_path}: "):
        token_counter(str(tmp_path))
