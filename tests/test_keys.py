"""Keys: which are taken, which are refused, and that neither is shown."""

import pytest

from rmr1_sdk import ConfigError, connect
from rmr1_sdk.keys import find_key, mask_address, mask_key

VARIABLE = "RMR1_API_KEY"


@pytest.mark.parametrize(
    ("argument", "variable", "key"),
    [
        ("planted", "other", "planted"),
        (" planted\r\n", "other", "planted"),
        ("two words", "", "two words"),
        (None, "\tplanted\n", "planted"),
        ("", "planted", "planted"),
        (" \n", "planted", "planted"),
        (None, " ", ""),
        (None, None, ""),
    ],
)
def test_the_space_around_a_key_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, argument: str | None, variable: str | None, key: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    assert find_key(argument, VARIABLE) == key


@pytest.mark.parametrize(
    "key", ["pla\nnted", "pla\r\nnted\n", "planted\x00", "\x1b[planted", "plänted", "\ufeffplanted"]
)
def test_a_key_that_no_header_can_carry_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with pytest.raises(ConfigError, match=r"^api_key: ") as said:
        connect("rmr1:http://127.0.0.1:9", api_key=key)
    told = str(said.value)
    if "\x00" not in key:
        monkeypatch.setenv(VARIABLE, key)
        with pytest.raises(ConfigError, match=rf"^\${VARIABLE}: ") as said:
            connect("rmr1:http://127.0.0.1:9")
        told += str(said.value)
    assert "pl" not in told


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_all_remote_engines_refuse_it(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    pytest.importorskip(kind)
    with pytest.raises(ConfigError, match=r"^api_key: "):
        connect(f"{kind}:m", api_key="a\nb")
    monkeypatch.setenv(f"{kind.upper()}_API_KEY", "a\nb")
    with pytest.raises(ConfigError, match=rf"^\${kind.upper()}_API_KEY: "):
        connect(f"{kind}:m")


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        ("no text in the prefix", "x", "no text in the prefix"),
        ("bad key x, xx", "x", "bad key [key], xx"),
        ("(Illegal header value b'Bearer s3cret')", "s3cret", "(Illegal header value b'Bearer [key]')"),
        ("akey: sk-12345678zz", "sk-12345678", "akey: [key]zz"),
        ("a+b and a.b", "a.b", "a+b and [key]"),
        ("as it is", "", "as it is"),
    ],
)
def test_a_key_is_masked_and_a_short_one_only_as_a_word(text: str, key: str, shown: str) -> None:
    assert mask_key(text, key) == shown


def test_an_address_is_shown_where_nothing_can_be_secret_in_it() -> None:
    shown = {address: mask_address(address) for address in ("m.gguf", "//host:8/v1", "//a:KEY@host", "//host?key=KEY")}
    assert list(shown.values()) == ["m.gguf", "//host:8/v1", "...", "..."]
