"""The page in a real Chromium, over a real server. Every test also holds that nothing is asked of another origin."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from rmr1_sdk import BackendError, FakeBackend, Judge, Pair
from tests.browser.conftest import Visit, served, watched
from tests.browser.scripted import CHAT, PAIR, REASONING, UNDECIDED, Scripted, turned
from tests.processes import LIMIT_S

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

Keep = Callable[["Page", str], None]
SCORES: Any = {"AB": (0.9, 0.05), "BA": (0.2, 0.7)}


def fill(page: "Page", pair: Pair = PAIR) -> None:
    page.get_by_label("Question").fill(str(pair.question))
    page.get_by_role("textbox", name="Answer A", exact=True).fill(pair.text("A"))
    page.get_by_role("textbox", name="Answer B", exact=True).fill(pair.text("B"))


def compare(page: "Page", pair: Pair = PAIR) -> "Locator":
    """The outcome of a pair."""
    fill(page, pair)
    page.get_by_role("button", name="Compare").click()
    return outcome(page)


def outcome(page: "Page") -> "Locator":
    page.locator(".outcome:not(.waiting)").wait_for()
    return page.locator(".outcome")


def order(page: "Page", shown: str) -> "Locator":
    return page.locator(f'.order[data-shown="{shown}"]')


def part(reading: "Locator", name: str) -> "Locator":
    return reading.locator(f'[data-part="{name}"] .prose')


def texts(found: "Locator") -> list[str]:
    return [text.strip() for text in found.all_text_contents()]


def test_sections_are_seen_while_they_are_written(visit: Visit, keep: Keep) -> None:
    backend = Scripted(CHAT, until="in every")
    page = visit(Judge(backend))
    fill(page)
    page.get_by_role("button", name="Compare").click()
    for shown, other in (("AB", "B"), ("BA", "A")):
        evaluation = part(order(page, shown), "eval")
        evaluation.get_by_text(re.compile(f"Chatbot {other} even writes “The sea is always blue in every$")).wait_for()
        assert "1. Accuracy (60%)" in str(part(order(page, shown), "rubric").text_content())
        assert order(page, shown).get_by_text("writing: evaluation").is_visible()
        assert in_view(part(order(page, shown), "rubric"))
    assert page.get_by_role("status").text_content() == "The judge is at work."
    assert page.locator(".outcome.waiting").is_visible()
    caret = "getComputedStyle(document.querySelector('.being-written'), '::after').animationName"
    assert page.evaluate(caret) == "blink"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(caret) == "none"
    keep(page, "writing")
    backend.until = ""
    assert "is better" in str(outcome(page).text_content())
    assert page.get_by_role("status").text_content() == "A is better. Both orders agree."


def test_a_chat_verdict(visit: Visit, keep: Keep) -> None:
    page = visit(Judge(Scripted(CHAT, scores=SCORES)))
    found = compare(page)
    keep(page, "chat")
    assert found.get_by_role("heading").text_content() == "A is better"
    meter = found.get_by_role("meter", name="Probability of A")
    p_a = (0.9 / 0.95 + 0.7 / 0.9) / 2
    assert float(str(meter.get_attribute("aria-valuenow"))) == pytest.approx(p_a)
    assert share(meter) == pytest.approx(p_a, abs=0.01)
    assert f"Probability of A {p_a:.2f}" in str(found.text_content())
    assert texts(found.locator("dt")) == ["Position effect", "Agreement", "Read", "Written", "Time", "Judge", "Prompt"]
    assert texts(found.locator("dd"))[0] == "+0.08 for the answer shown first"
    for shown in ("AB", "BA"):
        criteria = order(page, shown).locator(".criterion")
        assert texts(criteria.locator(".weight")) == ["60%", "30%", "10%"]
        assert [share(bar) for bar in criteria.locator(".bar").all()] == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
        assert part(order(page, shown), "justify").text_content() == "A wrong cause is worse than a dull sentence."
        assert order(page, shown).locator(".task").text_content() == "chat"
    assert texts(page.locator(".conclusion")) == [
        "Prefers your A, probability of A 0.95",
        "Prefers your A, which it calls B, probability of A 0.78",
    ]
    notes = ["shown in your order: its A is your A", "shown in the other order: its A is your B"]
    assert texts(page.locator(".order > .note")) == notes


def in_view(found: "Locator") -> bool:
    """Whether the beginning is on the screen, once nothing scrolls any more."""
    seen: bool = found.evaluate(
        """async (element) => {
            const top = () => element.getBoundingClientRect().top;
            for (let before = null; before !== top(); ) {
                before = top();
                await new Promise((done) => setTimeout(done, 100));
            }
            return top() > 0 && top() < innerHeight - 50;
        }"""
    )
    return seen


def share(bar: "Locator") -> float:
    """How much of a bar is filled, once it stands still."""
    filled: float = bar.evaluate(
        """async (bar) => {
            await Promise.all(bar.getAnimations({subtree: true}).map((animation) => animation.finished));
            return bar.firstElementChild.getBoundingClientRect().width / bar.getBoundingClientRect().width;
        }"""
    )
    return filled


def test_quotes_are_shown_where_they_come_from(visit: Visit) -> None:
    page = visit(Judge(Scripted(CHAT)))
    compare(page)
    answers = {side: page.locator(f'.answer[data-side="{side}"]') for side in "AB"}
    assert texts(answers["A"].locator("mark")) == ["Air bounces blue light around far more than red light"]
    assert texts(answers["B"].locator("mark")) == ["It mirrors the sea"]
    assert texts(answers["B"].locator("div.missing li")) == ["“The sea is always blue in every weather”"]
    assert answers["A"].locator("div.missing").count() == 0
    for shown in ("AB", "BA"):  # the sides are the caller's in both orders
        quotes = part(order(page, shown), "eval").locator(".quote")
        assert texts(quotes.locator(".from")) == ["in A", "in B", "not in B"]
        assert quotes.nth(2).locator("[data-icon='no']").count() == 1
    quote = part(order(page, "BA"), "eval").get_by_role("link", name="It mirrors the sea")
    quote.click()
    assert page.locator("mark:target").text_content() == "It mirrors the sea"


@pytest.mark.parametrize(
    ("answer", "quotes"),
    [
        ("🦊 says 𝒳 = 🌈 and then 👩‍👩‍👧 stops here", ["𝒳 = 🌈 and", "👩‍👩‍👧 stops"]),
        ("no stars before 🦊 but after them: here", ["after them: here", "no stars"]),
        ("a ‮right-to-left‬ e\u0301 and a flag 🇪🇺 here", ["e\u0301 and a flag 🇪🇺"]),
    ],
    ids=["astral", "around", "combining"],
)
def test_quotes_are_found_behind_characters_of_two_units(visit: Visit, answer: str, quotes: list[str]) -> None:
    pair = Pair(question="?", a=answer, b="something else")
    text = "<eval>" + " ".join(f"<quote_A>{quote}</quote_A>" for quote in quotes) + "</eval><answer>[[A]]</answer>"
    page = visit(Judge(Scripted(text, pair=pair)))
    compare(page, pair)
    marks = page.locator('.answer[data-side="A"] mark').all_text_contents()
    assert sorted(marks) == sorted(quotes)
    assert page.locator('.answer[data-side="A"] .prose').text_content() == answer


def test_overlapping_quotes_leave_the_answer_as_it_is(visit: Visit) -> None:
    text = "".join(
        f"<quote_A>{quote}</quote_A>" for quote in ("blue light around far", "light around", "around far more")
    )
    page = visit(Judge(Scripted(f"<eval>{text}</eval><answer>[[A]]</answer>")))
    compare(page)
    body = page.locator('.answer[data-side="A"] .prose')
    assert "".join(body.locator("mark").all_text_contents()) == "blue light around far more"
    assert body.text_content() == PAIR.a


def test_a_reasoning_verdict(visit: Visit, keep: Keep) -> None:
    page = visit(Judge(Scripted(REASONING, scores=SCORES), prompt="reasoning"))
    compare(page)
    keep(page, "reasoning")
    reading = order(page, "AB")
    assert "≈ 4.4" in str(part(reading, "solution").text_content())
    assert reading.locator(".task").text_content() == "reasoning"
    assert not part(reading, "thinking").is_visible()
    reading.get_by_text("Thinking", exact=True).click()
    assert "Is the answer <answer>[[B]]</answer>? No." in str(part(reading, "thinking").text_content())
    assert part(reading, "thinking").is_visible()


def test_an_unreadable_verdict_is_no_tie(visit: Visit, keep: Keep) -> None:
    page = visit(Judge(Scripted(UNDECIDED)))
    found = compare(page)
    keep(page, "unreadable")
    assert found.get_by_role("heading").text_content() == "No verdict"
    assert found.locator(".icon").first.get_attribute("data-icon") == "unreadable"
    assert found.locator(".reason").text_content() == "There is no finished answer after the evaluation. no_answer"
    assert found.get_by_role("meter").count() == 0
    assert (
        texts(page.locator(".reading > summary")) == ["Reading 1unreadable", "Reading 1, asked once moreunreadable"] * 2
    )
    assert page.get_by_text(UNDECIDED).locator("visible=true").count() == 2
    assert page.locator(".conclusion").count() == 2


def test_orders_that_disagree_are_a_tie(visit: Visit, keep: Keep) -> None:
    page = visit(Judge(Scripted(CHAT, turned(CHAT).replace("[[B]]", "[[A]]"))))
    found = compare(page)
    keep(page, "tie")
    assert found.get_by_role("heading").text_content() == "Tie"
    assert found.locator(".icon").first.get_attribute("data-icon") == "tie"
    assert found.locator(".reason").text_content() == "The two orders disagree."
    assert float(str(found.get_by_role("meter").get_attribute("aria-valuenow"))) == 0.5
    assert texts(found.locator(".order-votes")) == ["A shown firstA", "B shown firstB"]


def test_one_order_alone_decides_where_the_other_is_unreadable(visit: Visit) -> None:
    page = visit(Judge(Scripted(CHAT, UNDECIDED)))
    found = compare(page)
    assert found.locator(".reason").text_content() == "Only one of the two orders could be read."
    assert texts(found.locator(".order-votes")) == ["A shown firstA", "B shown firstunreadable"]


def test_answers_that_say_the_same_are_a_tie_without_a_judge(visit: Visit) -> None:
    page = visit(Judge(FakeBackend([])))
    found = compare(page, Pair(question="?", a="same", b="same"))
    assert found.locator(".reason").text_content() == "Both answers say the same, so no judge was asked."
    assert page.locator(".reading").count() == 0


def test_forced_verdicts_are_marked(visit: Visit, keep: Keep) -> None:
    page = visit(Judge(Scripted(UNDECIDED, turned(CHAT), scores=SCORES), votes=3))
    found = compare(page)
    keep(page, "forced")
    assert texts(found.locator(".vote")) == ["A, forced"] * 3 + ["A"] * 3
    assert "3 verdicts forced" in str(found.locator("p.forced").text_content())
    assert order(page, "AB").get_by_text("Forced: the judge had not come to a verdict").count() == 3
    assert [reading.get_attribute("open") is not None for reading in page.locator(".reading").all()] == [
        True,
        False,
        False,
    ] * 2


def test_text_of_users_and_models_is_never_markup(visit: Visit) -> None:
    attack = '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
    pair = Pair(question=f"Q{attack}", a=f"first one {attack}", b=f"another {attack}")
    text = (
        f"<think>{attack}</think><type>Chat</type>"
        f"<rubric>1. {attack} (100%): {attack}<justify>{attack}</justify></rubric><solution>{attack}</solution>"
        f"<eval>{attack} <quote_A>{attack}</quote_A> <quote_B>no {attack} there, no</quote_B></eval>"
        f"{attack}<answer>[[A]]</answer>"
    )
    page = visit(Judge(Scripted(text, pair=pair)))
    compare(page, pair)
    assert page.evaluate("window.hurt") is None
    assert page.locator("img, script:not([src]), body script").count() == 0
    assert page.locator('.answer[data-side="A"] mark').text_content() == attack
    for name in ("thinking", "justify", "solution"):
        assert part(order(page, "AB"), name).text_content() == attack


def test_a_reference_and_criteria_reach_the_judge(visit: Visit) -> None:
    backend = Scripted(CHAT)
    page = visit(Judge(backend, orders="given"))
    page.get_by_text("Reference answer and your own criteria").click()
    page.get_by_label("Reference answer").fill("It is Rayleigh scattering.")
    page.get_by_label("Criteria").fill("Only physics counts.")
    found = compare(page)
    assert found.locator(".reason").text_content() == "The judge was asked in one order only."
    asked = backend.requests[0].messages[-1].content
    assert "It is Rayleigh scattering." in asked
    assert "Only physics counts." in asked


def test_stop_stops_the_engine_and_keeps_what_was_written(visit: Visit) -> None:
    backend = Scripted(CHAT, until="Accuracy decides")
    page = visit(Judge(backend))
    fill(page)
    page.get_by_role("button", name="Compare").click()
    part(order(page, "AB"), "eval").get_by_text("Accuracy decides").wait_for()
    page.get_by_role("button", name="Stop").click()
    page.get_by_text("broken off").first.wait_for()
    assert page.get_by_role("status").text_content() == "Stopped."
    assert part(order(page, "BA"), "eval").text_content() == "Accuracy decides"
    assert page.locator(".outcome, .being-written").count() == 0
    assert not page.get_by_role("alert").is_visible()
    assert backend.stopped.wait(LIMIT_S)
    backend.until = ""
    page.get_by_role("button", name="Compare").click()
    assert "is better" in str(outcome(page).text_content())


def test_what_was_written_before_time_ran_out_stays(visit: Visit) -> None:
    page = visit(Judge(Scripted(CHAT, until="Accuracy decides"), timeout_s=5))
    found = compare(page)
    assert found.locator(".reason").text_content() == ("The time was over before there was anything to read. timeout")
    assert part(order(page, "AB"), "eval").text_content() == "Accuracy decides"
    assert page.locator(".being-written").count() == 0


def test_trouble_of_the_engine_is_told(visit: Visit) -> None:
    page = visit(Judge(Scripted(CHAT, until="Accuracy decides", error=BackendError("the engine is out of memory"))))
    fill(page)
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("alert").get_by_text("the engine is out of memory").wait_for()
    assert "Accuracy decides" in str(part(order(page, "AB"), "eval").text_content())
    assert page.get_by_role("button", name="Compare").get_attribute("aria-disabled") is None


def test_a_server_that_is_gone_is_told(chromium: "Browser") -> None:
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        origin = server.enter_context(served(Judge(Scripted(CHAT))))
        expected = "ERR_CONNECTION_REFUSED"
        page = stack.enter_context(watched(chromium, origin, width=1180, scheme="light", expected=expected))
        fill(page)
        server.close()
        page.get_by_role("button", name="Compare").click()
        page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
        assert page.locator(".result").count() == 0


def test_a_server_that_wants_a_key_is_given_one(visit: Visit, keep: Keep) -> None:
    page = visit(Judge(Scripted(CHAT)), key="open sesame", expected="401")
    fill(page)
    key = page.get_by_label("Key")
    assert not key.is_visible()
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("alert").get_by_text("This server opens with a key.").wait_for()
    assert page.evaluate("document.activeElement.name") == "key"
    keep(page, "key")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_text("This key does not open the server.").wait_for()
    key.fill("open sesame")
    page.keyboard.press("Enter")
    assert "is better" in str(outcome(page).text_content())
    assert not page.get_by_role("alert").is_visible()


def test_everything_can_be_done_with_the_keyboard(visit: Visit) -> None:
    backend = Scripted(REASONING, until="<eval>")
    page = visit(Judge(backend, prompt="reasoning"))
    keys = page.keyboard
    for text in (str(PAIR.question), PAIR.text("A"), PAIR.text("B")):
        keys.press("Tab")
        keys.type(text)
    keys.press("Control+Enter")
    page.get_by_text("Its own solution").first.wait_for()
    assert walk(page, 3) == ["Reference answer and your own criteria", "Compare", "Stop"]
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    keys.press("Enter")
    page.get_by_text("broken off").first.wait_for()
    assert focused(page) == "Compare"
    backend.until = ""
    keys.press("Enter")
    outcome(page)
    assert focused(page) == "Compare"
    assert walk(page, 3) == ["Reading 1reasoningprefers A", "Thinking", "“Air bounces blue light around”in A"]
    keys.press("Shift+Tab")
    keys.press("Space")
    assert part(order(page, "AB"), "thinking").is_visible()
    keys.press("Tab")
    keys.press("Enter")
    assert page.locator("mark:target").text_content() == "Air bounces blue light around"


def focused(page: "Page") -> str:
    return str(page.evaluate("document.activeElement.textContent")).strip()


def walk(page: "Page", steps: int) -> list[str]:
    """What has the focus after each press of Tab."""
    found = []
    for _ in range(steps):
        page.keyboard.press("Tab")
        found.append(focused(page))
    return found


def test_the_example_fills_empty_fields_only(visit: Visit) -> None:
    page = visit(Judge(FakeBackend([])))
    example = page.get_by_role("button", name="Fill in an example")
    example.click()
    assert page.get_by_label("Question").input_value().startswith("Why is the sky blue?")
    assert page.evaluate("document.activeElement.name") == "question"
    assert not example.is_visible()


def test_a_question_is_needed(visit: Visit) -> None:
    page = visit(Judge(FakeBackend([])))
    page.get_by_role("button", name="Compare").click()
    assert focused(page) == ""
    assert page.evaluate("document.activeElement.name") == "question"
    assert page.locator(".result").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_to_the_side(visit: Visit, keep: Keep, scheme: str) -> None:
    pair = PAIR.model_copy(update={"b": PAIR.text("B") + " " + "w" * 300})
    page = visit(Judge(Scripted(CHAT, scores=SCORES, pair=pair)), width=390, scheme=scheme)
    compare(page, pair)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if scheme == "light":
        page.get_by_role("textbox", name="Answer B", exact=True).fill(PAIR.text("B"))
    keep(page, f"phone-{scheme}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(visit: Visit, keep: Keep, scheme: str) -> None:
    page = visit(Judge(Scripted(CHAT, UNDECIDED, scores=SCORES), force_verdict=False), scheme=scheme)
    compare(page)
    keep(page, f"unread-order-{scheme}")
    if scheme == "dark":
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 27)"
    assert page.evaluate(LOW_CONTRAST) == []


LOW_CONTRAST = """() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const luminance = (color) => {
        const [r, g, b] = channels(color).map((c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        const color = getComputedStyle(element).backgroundColor;
        return channels(color)[3] === 0 ? behind(element.parentElement) : color;
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const low = [];
    let seen = 0;
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
        const [one, other] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
        const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        seen += 1;
        if (contrast < 4.5) low.push([texts.currentNode.data, contrast]);
    }
    return seen > 50 ? low : ["nothing was looked at"];
}"""
"""Texts with a contrast below 4.5, which is WCAG's AA."""


STREAM = (
    ': ping\r\n\r\nevent: section\r\ndata: {"text": "é🦊"}\r\n\r\n'
    "event:judgment\ndata: one\ndata:two\n\n\rdata: x\r\rdata: cut"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_they_are_cut(visit: Visit, size: int) -> None:
    page = visit(Judge(FakeBackend([])))
    events = page.evaluate(
        """async ([text, size]) => {
            const { serverEvents } = await import("./page.js");
            const bytes = new TextEncoder().encode(text);
            const body = new ReadableStream({ start(stream) {
                for (let at = 0; at < bytes.length; at += size) stream.enqueue(bytes.slice(at, at + size));
                stream.close();
            } });
            const events = [];
            for await (const { name, data } of serverEvents(body)) events.push([name, data]);
            return events;
        }""",
        [STREAM, size],
    )
    assert events == [["section", '{"text": "é🦊"}'], ["judgment", "one\ntwo"], ["message", "x"]]
