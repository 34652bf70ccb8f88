"""Reports in a real Chromium, from a file: nothing is asked of anybody, and nothing is logged."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from rmr1_sdk import FakeBackend, Judge, Judgment, Pair
from rmr1_sdk.benchmarks import BENCHMARKS, load
from rmr1_sdk.report import as_page, make_report, read_runs
from tests import processes
from tests.browser.conftest import watched
from tests.browser.scripted import CHAT, UNDECIDED, Scripted
from tests.browser.test_page import LOW_CONTRAST, SCORES, texts
from tests.published import says, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

Keep = Callable[..., None]
Show = Callable[..., "Page"]
RUNS = ("reasoned", "hasty")


@pytest.fixture
def show(chromium: "Browser") -> Iterator[Show]:
    """Opens a file. In the end no error was logged and nothing but the file was asked for."""
    with ExitStack() as stack:

        def shown(file: Path, *, width: int = 1280, scheme: Literal["light", "dark"] = "light") -> "Page":
            page = stack.enter_context(watched(chromium, file.as_uri(), width=width, scheme=scheme, expected="$^"))
            page.locator(".rows .row").first.wait_for()
            return page

        yield shown


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, rmr1: list[str]) -> Path:
    """RewardBench as it is published, of texts of our own, judged by two engines; and the reports, by the command."""
    folder = tmp_path_factory.mktemp("rewardbench")
    data = write("rewardbench", folder, BENCHMARKS["rewardbench"].counts)

    def run(*arguments: object) -> None:
        processes.run([*rmr1, *arguments], check=True)

    for name in RUNS:
        model = ("--model", f"fake:tests.replies:{name}", "--orders", "both", "--no-store")
        run("bench", "rewardbench", *model, "--data", data, "--out", folder / name)
    run("report", folder / "reasoned", "-o", folder / "one.html")
    run("report", *(folder / name for name in RUNS), "-o", folder / "two.html")
    return folder


def said(folder: Path, run: str) -> list[Judgment]:
    lines = (folder / run / "judgments.jsonl").read_text().splitlines()
    return [Judgment.model_validate_json(line) for line in lines]


def told(page: "Page") -> str:
    return str(page.locator(".told").text_content())


def wait_for(page: "Page", words: str) -> None:
    page.locator(".told").get_by_text(re.compile(f"^{words}$")).wait_for()


def names(page: "Page") -> list[str]:
    return texts(page.locator(".rows .row .id"))


def open_first(page: "Page") -> "Locator":
    page.locator(".rows .row").first.click()
    sheet = page.get_by_role("dialog")
    sheet.locator(".outcome").wait_for()
    return sheet


def report_of(tmp_path: Path, pairs: list[Pair], judge: Callable[[Pair], Judgment]) -> Path:
    """A report of labelled pairs."""
    data, out = tmp_path / "pairs.jsonl", tmp_path / "said.jsonl"
    data.write_text("".join(pair.model_dump_json() + "\n" for pair in pairs))
    out.write_text("".join(judge(pair).model_dump_json() + "\n" for pair in pairs))
    judged = read_runs([out], data)
    file = tmp_path / "report.html"
    file.write_text(as_page(make_report(judged), judged))
    return file


def test_a_whole_rewardbench_opens(show: Show, keep: Keep, folder: Path) -> None:
    page = show(folder / "one.html")
    keep(page, "report")
    assert page.get_by_role("heading", level=1).text_content() == "RewardBench"
    assert page.title() == "RewardBench: fake"
    assert told(page) == "2,985 pairs"
    (scores,) = json.loads((folder / "reasoned" / "scores.json").read_text())["scores"]
    first = scores["figures"][0]
    assert page.locator(".card .value").first.text_content() == f"{first['value']:.1%}"
    figures = page.locator(".rates").first.locator("tbody th")
    assert texts(figures) == [figure["name"] for figure in scores["figures"]]
    assert texts(page.locator("figure h3")) == ["Position", "Length", "Token budget"]


def test_filters_leave_what_they_say(show: Show, folder: Path) -> None:
    page = show(folder / "one.html")
    judgments = said(folder, "reasoned")
    labels = {pair.id: pair.label for pair in load("rewardbench", folder / "filtered.jsonl").pairs()}
    expected = {
        "right": [one.pair_id for one in judgments if one.winner == labels[one.pair_id]],
        "wrong": [one.pair_id for one in judgments if one.winner in ("A", "B") and one.winner != labels[one.pair_id]],
        "tie": [one.pair_id for one in judgments if one.winner == "tie"],
        "unreadable": [one.pair_id for one in judgments if one.winner is None],
        "inconsistent": [one.pair_id for one in judgments if one.position_consistent is False],
    }
    assert texts(page.locator("fieldset .chip")) == ["all2,985", *(f"{k}{len(v):,}" for k, v in expected.items())]
    for name, ids in expected.items():
        page.get_by_role("radio", name=re.compile(f"^{name}")).check(force=True)
        assert told(page) == f"{len(ids):,} of 2,985 pairs"
        assert names(page)[:10] == ids[:10]
    page.get_by_role("radio", name=re.compile("^right")).check(force=True)
    page.get_by_label("Subset").select_option("math-prm")
    ids = [name for name in expected["right"] if str(name).startswith("math-prm/")]
    assert told(page) == f"{len(ids):,} of 2,985 pairs"
    assert names(page)[:10] == ids[:10]


def test_search_looks_in_all_texts(show: Show, folder: Path) -> None:
    page = show(folder / "one.html")
    field = page.get_by_role("searchbox")
    field.fill("XSTEST-should-refuse question 77")
    wait_for(page, "1 of 2,985 pairs")
    field.fill("nobody wrote THIS")
    ids = [one.pair_id for one in said(folder, "reasoned") if any("Nobody wrote" in v.text for v in one.verdicts)]
    wait_for(page, f"{len(ids):,} of 2,985 pairs")
    assert names(page)[:10] == ids[:10]
    field.fill("no such words")
    wait_for(page, "0 of 2,985 pairs")
    assert page.locator(".rows .row").count() == 0
    field.fill("")
    wait_for(page, "2,985 pairs")


def test_one_judgment_in_full(show: Show, keep: Keep, folder: Path) -> None:
    page = show(folder / "one.html")
    page.get_by_role("searchbox").fill("Nobody wrote this anywhere")
    page.get_by_role("radio", name=re.compile("^right")).check(force=True)
    page.locator(".told").get_by_text(re.compile(r"^\d+ of 2,985 pairs$")).wait_for()
    page.wait_for_function("() => !document.querySelector('.told').textContent.includes('searching')")
    sheet = open_first(page)
    keep(page, "report-judgment", whole=False)
    name = names(page)[0]
    (judgment,) = (one for one in said(folder, "reasoned") if one.pair_id == name)
    (pair,) = (pair for pair in load("rewardbench", folder / "filtered.jsonl").pairs() if pair.id == name)
    assert sheet.get_by_role("heading", level=2).first.text_content() == name
    assert sheet.locator(".question .prose").text_content() == pair.question
    for side in ("A", "B"):
        answer = sheet.locator(f'.answer[data-side="{side}"]')
        assert answer.locator(".prose").text_content() == pair.text(side)
        assert answer.get_by_text("labelled better").count() == (pair.label == side)
        quoted = {
            (pair.text(side)[c.start : c.end])
            for verdict in judgment.verdicts
            for c in verdict.citations
            if c.side == side and c.found
        }
        assert set(texts(answer.locator("mark"))) == quoted
    assert "“Nobody wrote this anywhere”" in texts(sheet.locator(".answer div.missing li"))
    assert sheet.locator(".quote.missing").count() >= 1
    assert texts(sheet.locator(".criterion .weight"))[:3] == ["50%", "30%", "20%"]
    notes = ["shown in your order: its A is your A", "shown in the other order: its A is your B"]
    assert texts(sheet.locator(".order > .note")) == notes


def test_from_one_judgment_to_the_next(show: Show, folder: Path) -> None:
    page = show(folder / "one.html")
    page.get_by_role("radio", name=re.compile("^wrong")).check(force=True)
    ids = names(page)
    page.get_by_role("listbox").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog")
    heading = sheet.get_by_role("heading", level=2).first
    heading.get_by_text(ids[1], exact=True).wait_for()
    page.keyboard.press("ArrowRight")
    heading.get_by_text(ids[2], exact=True).wait_for()
    assert str(sheet.locator(".place").text_content()).startswith("3 of ")
    sheet.get_by_role("button", name="Previous").click()
    heading.get_by_text(ids[1], exact=True).wait_for()
    assert page.evaluate("document.activeElement.title") == "Previous"
    page.keyboard.press("Enter")
    heading.get_by_text(ids[0], exact=True).wait_for()
    page.keyboard.press("Enter")
    assert sheet.get_by_role("button", name="Previous").get_attribute("aria-disabled") == "true"
    page.keyboard.press("Escape")
    assert not sheet.is_visible()
    assert page.evaluate("document.activeElement.role") == "listbox"
    page.keyboard.press("End")
    page.locator(".rows [aria-selected=true]").wait_for()
    last = page.locator(".rows [aria-selected=true]")
    assert last.get_attribute("aria-posinset") == last.get_attribute("aria-setsize")


def test_a_quote_leads_to_its_place(show: Show, folder: Path) -> None:
    page = show(folder / "one.html")
    sheet = open_first(page)
    quote = sheet.locator("a.quote").last
    quote.click()
    words = str(quote.evaluate("quote => quote.firstChild.data"))
    assert f"“{page.locator('mark:target').text_content()}”" == words
    assert sheet.is_visible()


def test_two_runs_show_where_they_differ(show: Show, keep: Keep, folder: Path) -> None:
    page = show(folder / "two.html")
    keep(page, "report-two")
    first, second = (said(folder, name) for name in RUNS)
    ids = [one.pair_id for one, other in zip(first, second, strict=True) if one.winner != other.winner]
    page.get_by_label("differs").check(force=True)
    assert told(page) == f"{len(ids):,} of 2,985 pairs"
    assert names(page)[:10] == ids[:10]
    labels = {pair.id: pair.label for pair in load("rewardbench", folder / "filtered.jsonl").pairs()}
    lost = [
        one.pair_id
        for one, other in zip(first, second, strict=True)
        if one.winner == labels[one.pair_id] and other.winner not in (labels[one.pair_id], "tie", None)
    ]
    rows = page.locator("fieldset")
    rows.nth(0).get_by_role("radio", name=re.compile("^right")).check(force=True)
    rows.nth(1).get_by_role("radio", name=re.compile("^wrong")).check(force=True)
    assert told(page) == f"{len(lost):,} of 2,985 pairs"
    sheet = open_first(page)
    keep(page, "report-two-judgment", whole=False)
    tabs = sheet.locator(".tab")
    assert texts(tabs.locator(".name")) == [f"fake ({name})" for name in RUNS]
    label = str(labels[lost[0]])
    assert str(sheet.get_by_role("heading", name="is better").text_content()) == f"{label} is better"
    tabs.nth(1).click()
    assert str(sheet.get_by_role("heading", name="is better").text_content()) != f"{label} is better"
    assert page.get_by_role("heading", name="fake (reasoned) less fake (hasty)").count() == 1
    assert "Cost and score" in texts(page.locator("figure h3"))


def test_20_000_judgments_stay_usable(show: Show, tmp_path: Path) -> None:
    text = "It follows the question, step by step, and says so. " * 20
    pairs = [Pair(question=f"Question {n}?", a="a", b="b", id=str(n), label="A") for n in range(20_000)]

    def judge(pair: Pair) -> Judgment:
        found = says(pair, int(str(pair.id)) % 3 > 0, True, p=0.8)
        return found.model_copy(
            update={"verdicts": tuple(v.model_copy(update={"text": f"{pair.id}: {text}"}) for v in found.verdicts)}
        )

    page = show(report_of(tmp_path, pairs, judge))
    assert told(page) == "20,000 pairs"
    page.locator(".rows").evaluate("list => { list.scrollTop = list.scrollHeight; }")
    page.get_by_role("option", name="Question 19999?").wait_for()
    assert page.locator(".rows .row").count() < 60
    page.get_by_role("option", name="Question 19999?").click()
    page.get_by_role("dialog").get_by_text("20,000 of 20,000").wait_for()
    assert "19999: It follows" in str(page.get_by_role("dialog").text_content())
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("19998: it follows")
    wait_for(page, "1 of 20,000 pairs")
    assert names(page) == ["19998"]
    page.get_by_role("searchbox").fill("")
    wait_for(page, "20,000 pairs")
    page.get_by_role("radio", name=re.compile("^inconsistent")).check(force=True)
    assert told(page) == "6,667 of 20,000 pairs"


def test_conversations_and_what_the_judge_was_given(show: Show, keep: Keep, tmp_path: Path) -> None:
    def turns(*said: str) -> list[dict[str, str]]:
        return [{"role": role, "content": content} for role, content in (words.split(": ") for words in said)]

    pair = Pair(
        question=turns("user: Hello", "assistant: Hi 🦊", "user: Sky?"),
        a=turns("assistant: 🦊 first part", "user: on", "assistant: second part here"),
        b="It mirrors the sea",
        id="talk",
        label="tie",
        reference="Rayleigh",
        rubric="Only physics counts.",
    )
    text = "<eval><quote_A>second part</quote_A> and <quote_A>🦊 first</quote_A></eval><answer>[[A]]</answer>"
    with Judge(FakeBackend(lambda request: text), orders="given") as judge:
        page = show(report_of(tmp_path, [pair], judge.compare))
    sheet = open_first(page)
    keep(page, "report-conversation", whole=False)
    assert texts(sheet.locator(".question h4")) == ["user", "assistant", "user"]
    assert texts(sheet.locator('.answer[data-side="A"] mark')) == ["🦊 first", "second part"]
    assert texts(sheet.locator('.answer[data-side="A"] .turn .prose')) == ["🦊 first part", "on", "second part here"]
    assert "labelled a tie" in str(sheet.locator(".question").text_content())
    sheet.get_by_text("Reference answer").click()
    assert sheet.get_by_text("Rayleigh", exact=True).is_visible()
    sheet.get_by_text("Criteria that the judge was given").click()
    assert sheet.get_by_text("Only physics counts.").is_visible()


def test_forced_and_unreadable_readings_are_marked(show: Show, tmp_path: Path) -> None:
    scripted = Pair(question="?", a="Air bounces blue light", b="It mirrors the sea", id="1", label="B")
    with Judge(Scripted(UNDECIDED, CHAT, pair=scripted, scores=SCORES)) as judge:
        forced = judge.compare(scripted)
    with Judge(FakeBackend(lambda request: UNDECIDED)) as judge:
        unread = judge.compare(scripted.model_copy(update={"id": "2"}))
    pairs = [scripted, scripted.model_copy(update={"id": "2"})]
    page = show(report_of(tmp_path, pairs, lambda pair: forced if pair.id == "1" else unread))
    page.get_by_role("radio", name=re.compile("^forced")).check(force=True)
    assert names(page) == ["1"]
    page.get_by_role("radio", name=re.compile("^unreadable")).check(force=True)
    assert names(page) == ["2"]
    sheet = open_first(page)
    assert sheet.get_by_role("heading", name="No verdict").count() == 1
    assert "no_answer" in str(sheet.locator(".outcome").text_content())


def test_text_of_users_and_models_is_never_markup(show: Show, tmp_path: Path) -> None:
    attack = '</script><img src=x onerror="window.hurt=1"><script>window.hurt=1</script>'
    pair = Pair(
        question=attack,
        a=f"1 {attack}",
        b=f"2 {attack}",
        id=attack,
        label="A",
        metadata={"subset": attack},
        reference=attack,
    )
    other = pair.model_copy(update={"id": "x", "metadata": {"subset": "y"}})
    rubric = f"<rubric>1. {attack} (100%): {attack}</rubric>"
    text = f"{rubric}<eval><quote_A>{attack}</quote_A></eval>{attack}<answer>[[A]]</answer>"
    with Judge(FakeBackend(lambda request: text)) as judge:
        page = show(report_of(tmp_path, [pair, other], judge.compare))
    sheet = open_first(page)
    assert page.evaluate("window.hurt") is None
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 3
    assert attack in str(sheet.locator(".question").text_content())
    assert sheet.locator('.answer[data-side="A"] mark').first.text_content() == attack


def test_without_the_pairs_there_are_still_the_readings(show: Show, folder: Path, tmp_path: Path) -> None:
    lines = (folder / "reasoned" / "judgments.jsonl").read_text().splitlines()[:20]
    (tmp_path / "judgments.jsonl").write_text("\n".join(lines))
    judged = read_runs([tmp_path])
    (tmp_path / "bare.html").write_text(as_page(make_report(judged), judged))
    page = show(tmp_path / "bare.html")
    assert "The pairs are not known" in str(page.locator("ul.lacks").text_content())
    assert told(page) == "20 pairs"
    assert page.get_by_role("radio", name=re.compile("^right")).count() == 0
    sheet = open_first(page)
    assert "The texts of this pair are not in the report." in str(sheet.text_content())
    assert sheet.locator(".answer").count() == 0
    assert sheet.locator(".order").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_a_phone_needs_no_scrolling_to_the_side(show: Show, keep: Keep, folder: Path, name: str, scheme: str) -> None:
    page = show(folder / f"{name}.html", width=390, scheme=scheme)
    keep(page, f"report-phone-{name}-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sheet = open_first(page)
    keep(page, f"report-phone-{name}-{scheme}-judgment", whole=False)
    assert sheet.evaluate("sheet => sheet.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(show: Show, keep: Keep, folder: Path, scheme: str) -> None:
    page = show(folder / "two.html", scheme=scheme)
    if scheme == "dark":
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 23, 27)"
        keep(page, "report-two-dark")
    page.get_by_role("radio", name=re.compile("^wrong")).first.check(force=True)
    assert page.evaluate(LOW_CONTRAST) == []
    open_first(page)
    assert page.evaluate(LOW_CONTRAST) == []
