// Every judgment of a report: filters, a list that makes only the rows in view, and one judgment in full.
// What users and models wrote becomes text nodes and nothing else; no string is ever read as markup.

import { Result, conversation, count, el, icon, letter } from "./judgment.js";

const CHOICES = {
  all: () => true,
  right: ({ state }) => state === "right",
  wrong: ({ state }) => state === "wrong",
  tie: ({ winner, state }) => winner === "tie" && state !== "right",
  unreadable: ({ state }) => state === "unreadable",
  inconsistent: ({ consistent }) => consistent === false,
  forced: ({ forced }) => forced,
};
const SIGNS = { right: "yes", wrong: "no", tie: "tie", unreadable: "unreadable" };
const SPARE = 8; // rows that are made above and below those in view
const KEPT = 4; // blocks that stay unpacked

// --- the data --------------------------------------------------------------------------------------

/** What a script element holds: JSON, deflated, in base64. */
async function unpacked(script) {
  const bytes = Uint8Array.from(atob(script.textContent), (char) => char.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

const index = await unpacked(document.getElementById("index"));
const packed = [...document.querySelectorAll("script.block")];
const kept = new Map();

/** The texts of some rows; the last few blocks are kept. */
function block(number) {
  if (!kept.has(number)) {
    kept.set(number, unpacked(packed[number]));
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(number);
}

const rows = index.rows.map(([id, subset, label, text, cells], at) => ({
  ...{ at, id, subset, label, text },
  cells: cells.map((cell) => cell && Object.fromEntries(["state", "winner", "p_a", "consistent", "forced"].map((name, i) => [name, cell[i]]))),
}));

/** Whether the runs that judged a pair came to different outcomes. */
const differs = ({ cells }) => new Set(cells.filter(Boolean).map(({ winner }) => winner)).size > 1;

/** All texts of a pair and of what was said of it. */
function* texts([pair, judgments]) {
  if (pair) {
    for (const value of [pair.question, pair.a, pair.b]) {
      if (typeof value === "string") yield value;
      else yield* value.map(({ content }) => content);
    }
  }
  for (const judgment of judgments) if (judgment) yield* judgment.verdicts.map(({ text }) => text);
}

// --- filters ---------------------------------------------------------------------------------------

const form = el("form", { class: "filters", role: "search" });
const told = el("p", { class: "told", role: "status" });
let shown = rows;
let hits = null; // the places of rows in which the words were found; null where none are looked for
let search = 0;

/** A choice of one of several, as a row of chips. */
function chips(name, choices) {
  return choices.map(([value, words, n]) => {
    const input = el("input", { type: "radio", name, value });
    input.checked = value === "all";
    return el("label", { class: "chip" }, input, words, el("span", { class: "n" }, n.toLocaleString("en")));
  });
}

function fillForm() {
  const subsets = Map.groupBy ? [...Map.groupBy(rows, ({ subset }) => subset)].map(([name, of]) => [name, of.length]) : [];
  const words = el("input", { type: "search", name: "words", placeholder: "Search in all texts", "aria-label": "Search in all texts" });
  const top = el("div", { class: "top" }, words);
  if (subsets.length > 1) {
    const options = subsets.map(([name, n]) => el("option", { value: name }, `${name} (${n.toLocaleString("en")})`));
    top.append(el("select", { name: "subset", "aria-label": "Subset" }, el("option", { value: "" }, "All subsets"), ...options));
  }
  if (index.runs.length > 1) {
    const n = rows.filter(differs).length.toLocaleString("en");
    const input = el("input", { type: "checkbox", name: "differs" });
    top.append(el("label", { class: "chip" }, input, "differs", el("span", { class: "n" }, n)));
  }
  form.append(top);
  index.runs.forEach((name, run) => {
    const cells = rows.map(({ cells }) => cells[run]).filter(Boolean);
    const choices = Object.entries(CHOICES).map(([value, holds]) => [value, value, cells.filter(holds).length]);
    const there = choices.filter(([value, , n]) => n || value === "all");
    const legend = el("legend", index.runs.length > 1 ? {} : { class: "spoken" }, key(run), name);
    form.append(el("fieldset", {}, legend, ...chips(`run-${run}`, there)));
  });
}

/** The colour of a run. */
const key = (run) => el("i", { class: `key run-${run % 6}` });

function filter() {
  const chosen = new FormData(form);
  const subset = chosen.get("subset");
  const holds = index.runs.map((_, run) => chosen.get(`run-${run}`)).map((choice) => choice !== "all" && CHOICES[choice]);
  shown = rows.filter(
    (row) =>
      (!subset || row.subset === subset) &&
      (!chosen.has("differs") || differs(row)) &&
      (!hits || hits.has(row.at)) &&
      row.cells.every((cell, run) => !holds[run] || (cell && holds[run](cell))),
  );
  active = 0;
  list.scrollTop = 0;
  tell();
  draw();
}

function tell(more = "") {
  const n = shown.length.toLocaleString("en");
  told.textContent = (shown.length === rows.length ? count(rows.length, "pair") : `${n} of ${count(rows.length, "pair")}`) + more;
}

/** Look for words in all texts, block by block; a newer search ends an older one. */
async function look(words) {
  const mine = ++search;
  const wanted = words.trim().toLowerCase();
  hits = wanted ? new Set() : null;
  for (let number = 0; wanted && number < packed.length; number++) {
    const found = await unpacked(packed[number]);
    if (mine !== search) return;
    found.forEach((row, i) => {
      const at = number * index.block + i;
      const name = rows[at].id ?? "";
      if ([name, ...texts(row)].some((text) => text.toLowerCase().includes(wanted))) hits.add(at);
    });
    tell(`, searching: ${Math.round((100 * number) / packed.length)}%`);
  }
  filter();
}

let pause = 0;
form.addEventListener("input", ({ target }) => {
  if (target.name !== "words") return filter();
  clearTimeout(pause);
  pause = setTimeout(() => look(target.value), 200);
});
form.addEventListener("submit", (event) => event.preventDefault());

// --- the list --------------------------------------------------------------------------------------

const canvas = el("div", { class: "canvas", role: "presentation" });
const list = el("div", { class: "rows", role: "listbox", tabindex: 0, "aria-label": "Judgments" }, canvas);
const heads = el("div", { class: "row heads", "aria-hidden": "true" });
let active = 0;

/** What a run made of a pair: whether it was right, and what it said. */
function sign(cell, run) {
  if (!cell) return el("span", { class: "cell" }, "–");
  const { state, winner, p_a, consistent, forced } = cell;
  const said = winner === "tie" ? "tie" : winner ? letter(winner) : null;
  const marks = [
    SIGNS[state] ? icon(SIGNS[state]) : null,
    said,
    winner && p_a !== null ? el("span", { class: "p" }, p_a.toFixed(2)) : null,
    consistent === false ? icon("swap") : null,
    forced ? icon("warning") : null,
  ];
  const words = [index.runs[run], winner ?? "no verdict", state, consistent === false && "orders differ", forced && "forced"];
  const title = words.filter(Boolean).join(", ");
  return el("span", { class: "cell", "data-state": state, title }, ...marks.filter(Boolean), el("span", { class: "spoken" }, title));
}

function rowElement(at, height) {
  const { id, subset, label, text, cells } = shown[at];
  const place = { role: "option", "aria-posinset": at + 1, "aria-setsize": shown.length, "aria-selected": at === active };
  const element = el(
    "div",
    { class: "row", id: `row-${at}`, ...place },
    el("span", { class: "id" }, id ?? "pair", subset && !id?.startsWith(subset) ? el("small", {}, subset) : null),
    el("span", { class: "text" }, text),
    el("span", { class: "label" }, label === "tie" ? "tie" : label ? letter(label) : null),
    el("span", { class: "cells" }, ...cells.map(sign)),
  );
  element.style.top = `${at * height}px`;
  element.addEventListener("click", () => open(at));
  return element;
}

const rowHeight = () => Number(getComputedStyle(list).getPropertyValue("--row"));

function draw() {
  const height = rowHeight();
  const first = Math.max(0, Math.floor(list.scrollTop / height) - SPARE);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + SPARE);
  canvas.style.height = `${shown.length * height}px`;
  canvas.replaceChildren(...Array.from({ length: last - first }, (_, i) => rowElement(first + i, height)));
  list.setAttribute("aria-activedescendant", shown.length ? `row-${active}` : "");
}

/** Make a row the active one, and bring it into view. */
function go(at) {
  active = Math.max(0, Math.min(shown.length - 1, at));
  const height = rowHeight();
  const top = active * height;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
  draw();
}

list.addEventListener("scroll", () => requestAnimationFrame(draw));
list.addEventListener("keydown", (event) => {
  const page = Math.floor(list.clientHeight / rowHeight());
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length };
  if (event.key in steps) go(active + steps[event.key]);
  else if ((event.key === "Enter" || event.key === " ") && shown.length) open(active);
  else return;
  event.preventDefault();
});
addEventListener("resize", draw);

// --- one judgment ----------------------------------------------------------------------------------

const sheet = el("dialog", { class: "sheet", "aria-labelledby": "sheet-title" });
let chosenRun = 0;

async function open(at) {
  go(at);
  const row = shown[active];
  const [pair, judgments] = (await block(Math.floor(row.at / index.block)))[row.at % index.block];
  if (row !== shown[active]) return;
  sheet.replaceChildren(bar_(row), ...about(row, pair), ...judged(row, pair, judgments));
  sheet.scrollTop = 0;
  if (!sheet.open) sheet.showModal();
}

/** The name of a judgment, and where to go from it. */
function bar_(row) {
  const button = (words, name, act) => {
    const made = el("button", { type: "button", "aria-label": words, title: words }, icon(name));
    made.addEventListener("click", act);
    return made;
  };
  const back = button("Previous", "back", () => open(active - 1));
  const on = button("Next", "on", () => open(active + 1));
  back.disabled = active === 0;
  on.disabled = active === shown.length - 1;
  const place = `${(active + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`;
  return el(
    "header",
    {},
    el("h2", { id: "sheet-title" }, row.id ?? "pair"),
    row.subset ? el("span", { class: "task" }, row.subset) : null,
    el("span", { class: "place" }, place),
    back,
    on,
    button("Close", "no", () => sheet.close()),
  );
}

/** The question, and what else the judge was given. */
function about(row, pair) {
  if (!pair) return [el("p", { class: "lacks" }, "The texts of this pair are not in the report.")];
  const question = el("section", { class: "question" }, el("h3", {}, "Question"), ...conversation(pair.question));
  if (row.label === "tie") question.append(el("p", { class: "note" }, "labelled a tie"));
  const rubric = typeof pair.rubric === "string" || !pair.rubric ? pair.rubric : pair.rubric.criteria.map(criterion).join("\n");
  const given = [["Reference answer", pair.reference], ["Criteria that the judge was given", rubric]];
  const more = given.filter(([, text]) => text).map(([title, text]) => el("details", { class: "part" }, el("summary", {}, title), ...conversation(text)));
  return [question, ...more];
}

const criterion = ({ name, weight, description }) => [name, weight === null ? "" : ` (${Math.round(100 * weight)}%)`, description && `: ${description}`].join("");

/** The judgment of the chosen run, and with several runs a choice between them. */
function judged(row, pair, judgments) {
  const place = el("div", { class: "of-run" });
  const show = (run) => {
    chosenRun = run;
    if (!judgments[run]) return place.replaceChildren(el("p", { class: "lacks" }, `${index.runs[run]} did not judge this pair.`));
    const result = new Result(pair);
    result.finish(judgments[run]);
    place.replaceChildren(result.element);
  };
  show(chosenRun);
  if (index.runs.length === 1) return [place];
  const tabs = index.runs.map((name, run) => {
    const input = el("input", { type: "radio", name: "run", value: run });
    input.checked = run === chosenRun;
    input.addEventListener("change", () => show(run));
    return el("label", { class: "tab" }, input, el("span", { class: "name" }, key(run), name), sign(row.cells[run], run));
  });
  return [el("fieldset", { class: "tabs" }, el("legend", { class: "spoken" }, "Run"), ...tabs), place];
}

sheet.addEventListener("keydown", (event) => {
  if (event.target.matches("input")) return; // arrows choose a run there
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const at = active + step;
  if (step && shown[at]) open(at);
});
sheet.addEventListener("click", ({ target }) => target === sheet && sheet.close());

// --- all of it -------------------------------------------------------------------------------------

fillForm();
const names = index.runs.map((name, run) => el("span", { class: "cell", title: name }, key(run), name));
heads.append(el("span", {}, "pair"), el("span", {}, "question"), el("span", {}, "label"), el("span", { class: "cells" }, ...names));
const section = document.getElementById("judgments");
section.style.setProperty("--runs", index.runs.length);
section.append(form, told, el("div", { class: "list" }, heads, list), sheet);
filter();
