"""Chat templates come with model files: they are rendered in a sandbox."""

import pytest

from rmr1_sdk.errors import BackendError
from rmr1_sdk.types import Message

pytest.importorskip("jinja2", reason="needs jinja2, which comes with the llama-cpp extra")

from rmr1_sdk.backends.chat import render_chat

TURNS = (Message(role="system", content="Be brief."), Message(role="user", content="Hi {{ bos_token }}"))
PLAIN = (
    "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def test_user_text_is_never_taken_for_template() -> None:
    assert render_chat(PLAIN, TURNS, bos="<s>") == "<s>[system]Be brief.[user]Hi {{ bos_token }}[assistant]"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for x in range(10**9) %}{% endfor %}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include '/etc/passwd' %}",
        "{% if %}",
    ],
)
def test_a_template_that_reaches_out_is_refused(template: str) -> None:
    with pytest.raises(BackendError, match="chat template failed"):
        render_chat(template, TURNS)


def test_a_template_without_a_system_role_gets_it_in_the_first_user_turn() -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + PLAIN
    assert render_chat(template, TURNS) == "[user]Be brief.\n\nHi {{ bos_token }}[assistant]"
    with pytest.raises(BackendError, match="no system role"):
        render_chat("{{ raise_exception('no system role') }}", TURNS)


def test_what_published_templates_use_is_there() -> None:
    template = "{{ messages | tojson }}{{ strftime_now('%Y') | length }}{% for m in messages %}{% break %}{% endfor %}"
    assert render_chat(template, TURNS[1:]) == '[{"role": "user", "content": "Hi {{ bos_token }}"}]4'
