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

const named = ([state, winner, p_a, consistent, forced]) => ({ state, winner, p_a, consistent, forced });
const rows = index.rows.map(([id, subset, label, text, cells], at) => {
  return { at, id: id ?? "pair", subset, label, text, cells: cells.map((cell) => cell && named(cell)) };
});

/** Whether the runs that judged a pair came to different outcomes. */
const differs = ({ cells }) => new Set(cells.filter(Boolean).map(({ winner }) => winner)).size > 1;

/** All texts of a pair and of what was said of it. */
function* said([pair, judgments]) {
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

const number = (n) => n.toLocaleString("en");

/** A switch with a word and how many rows it keeps. */
function chip(attributes, words, n) {
  return el("label", { class: "chip" }, el("input", attributes), words, el("span", { class: "n" }, number(n)));
}

function subsetMenu() {
  const sizes = new Map();
  for (const { subset } of rows) sizes.set(subset, (sizes.get(subset) ?? 0) + 1);
  if (sizes.size < 2) return null;
  const all = el("option", { value: "" }, "All subsets");
  const options = [...sizes].map(([name, n]) => el("option", { value: name }, `${name} (${number(n)})`));
  return el("select", { name: "subset", "aria-label": "Subset" }, all, ...options);
}

/** What became of a run's pairs, to choose one of. */
function outcomeChips(name, run) {
  const cells = rows.map(({ cells }) => cells[run]).filter(Boolean);
  const sizes = Object.entries(CHOICES).map(([choice, holds]) => [choice, cells.filter(holds).length]);
  const made = sizes
    .filter(([choice, n]) => n || choice === "all")
    .map(([value, n]) => {
      const checked = value === "all" ? { checked: "" } : {};
      return chip({ type: "radio", name: `run-${run}`, value, ...checked }, value, n);
    });
  return el("fieldset", {}, el("legend", index.runs.length > 1 ? {} : { class: "spoken" }, key(run), name), ...made);
}

function fillForm() {
  const words = "Search in all texts";
  const field = el("input", { type: "search", name: "words", placeholder: words, "aria-label": words });
  const alike = index.runs.length === 1;
  const differing = alike ? null : chip({ type: "checkbox", name: "differs" }, "differs", rows.filter(differs).length);
  form.append(el("div", { class: "top" }, field, subsetMenu(), differing), ...index.runs.map(outcomeChips));
}

/** The colour of a run. */
const key = (run) => el("i", { class: `key run-${run % 6}` });

function filter() {
  const chosen = new FormData(form);
  const subset = chosen.get("subset");
  const choices = index.runs.map((_, run) => CHOICES[chosen.get(`run-${run}`)]);
  shown = rows.filter(
    (row) =>
      (!subset || row.subset === subset) &&
      (!chosen.has("differs") || differs(row)) &&
      (!hits || hits.has(row.at)) &&
      row.cells.every((cell, run) => choices[run] === CHOICES.all || (cell && choices[run](cell))),
  );
  active = 0;
  list.scrollTop = 0;
  tell();
  draw();
}

function tell(more = "") {
  const all = count(rows.length, "pair");
  told.textContent = (shown.length === rows.length ? all : `${number(shown.length)} of ${all}`) + more;
}

/** Look for words in all texts, block by block; a newer search ends an older one. */
async function look(words) {
  const mine = ++search;
  const wanted = words.trim().toLowerCase();
  const found = wanted ? new Set() : null;
  for (let place = 0; wanted && place < packed.length; place++) {
    tell(`, searching: ${Math.round((100 * place) / packed.length)}%`);
    const texts = await unpacked(packed[place]);
    if (mine !== search) return;
    texts.forEach((row, i) => {
      const at = place * index.block + i;
      if ([rows[at].id, ...said(row)].some((text) => text.toLowerCase().includes(wanted))) found.add(at);
    });
  }
  hits = found;
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

/** What a run made of a pair: whether it was right, what it said, and how surely. */
function sign(cell, run) {
  if (!cell) return el("span", { class: "cell" }, "–");
  const { state, winner, p_a, consistent, forced } = cell;
  const signs = [
    SIGNS[state] ? icon(SIGNS[state]) : null,
    winner === "tie" ? "tie" : winner && letter(winner),
    winner && p_a !== null ? el("span", { class: "p" }, p_a.toFixed(2)) : null,
    consistent === false ? icon("swap") : null,
    forced ? icon("warning") : null,
  ];
  const title = [
    `${index.runs[run]}: ${state === "unreadable" ? "" : `${winner}, `}${state}`,
    winner && p_a !== null && `probability of A ${p_a.toFixed(2)}`,
    consistent === false && "orders differ",
    forced && "forced",
  ]
    .filter(Boolean)
    .join(", ");
  const words = el("span", { class: "spoken" }, title);
  return el("span", { class: "cell", "data-state": state, title }, ...signs, words);
}

function rowElement(at, height) {
  const { id, subset, label, text, cells } = shown[at];
  const place = { "aria-posinset": at + 1, "aria-setsize": shown.length, "aria-selected": at === active };
  const element = el(
    "div",
    { class: "row", id: `row-${at}`, role: "option", ...place },
    el("span", { class: "id" }, id, subset && !id.startsWith(subset) ? el("small", {}, subset) : null),
    el("span", { class: "text" }, text),
    el("span", { class: "label" }, label === "tie" ? "tie" : label && letter(label)),
    el("span", { class: "cells" }, ...cells.map(sign)),
  );
  element.style.top = `${at * height}px`;
  element.addEventListener("click", () => open(at));
  return element;
}

const rowHeight = () => Number(getComputedStyle(list).getPropertyValue("--row"));

function draw() {
  const height = rowHeight();
  canvas.style.height = `${shown.length * height}px`;
  const first = Math.max(0, Math.floor(list.scrollTop / height) - SPARE);
  const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / height) + SPARE);
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

const title = el("h2", { id: "sheet-title" });
const subset = el("span", { class: "task" });
const became = el("span"); // of the one run there is; several have it on their tabs
const place = el("span", { class: "place" });
const back = button("Previous", "back", () => open(active - 1));
const on = button("Next", "on", () => open(active + 1));
const close = button("Close", "no", () => sheet.close());
const body = el("div");
const sheet = el(
  "dialog",
  { class: "sheet", "aria-labelledby": "sheet-title" },
  el("header", {}, title, subset, became, place, back, on, close),
  body,
);
let chosenRun = 0;

function button(words, name, act) {
  const made = el("button", { type: "button", "aria-label": words, title: words }, icon(name));
  made.addEventListener("click", act);
  return made;
}

async function open(at) {
  if (!shown[at]) return;
  go(at);
  const row = shown[at];
  const [pair, judgments] = (await block(Math.floor(row.at / index.block)))[row.at % index.block];
  if (row !== shown[active]) return; // gone on meanwhile
  title.textContent = row.id;
  subset.textContent = row.subset;
  if (index.runs.length === 1) became.replaceChildren(sign(row.cells[0], 0));
  place.textContent = `${number(at + 1)} of ${number(shown.length)}`;
  back.setAttribute("aria-disabled", at === 0);
  on.setAttribute("aria-disabled", at === shown.length - 1);
  body.replaceChildren(...given(row, pair), ...judged(row, pair, judgments));
  sheet.scrollTop = 0;
  if (!sheet.open) sheet.showModal();
}

/** The question, and what else the judge was given. */
function given(row, pair) {
  if (!pair) return [el("p", { class: "lacks" }, "The texts of this pair are not in the report.")];
  const tie = row.label === "tie" ? el("p", { class: "note" }, "labelled a tie") : null;
  const question = el("section", { class: "question" }, el("h3", {}, "Question"), ...conversation(pair.question), tie);
  const { rubric } = pair;
  const criteria = rubric && typeof rubric === "object" ? rubric.criteria.map(criterion).join("\n") : rubric;
  const more = { "Reference answer": pair.reference, "Criteria that the judge was given": criteria };
  const folded = Object.entries(more).filter(([, text]) => text);
  return [question, ...folded.map(([name, text]) => el("details", {}, el("summary", {}, name), ...conversation(text)))];
}

function criterion({ name, weight, description }) {
  const share = weight === null ? "" : ` (${Math.round(100 * weight)}%)`;
  return `${name}${share}${description && `: ${description}`}`;
}

/** The judgment of the chosen run; of several runs, one can be chosen. */
function judged(row, pair, judgments) {
  const holder = el("div", { class: "of-run" });
  const show = (run) => {
    chosenRun = run;
    const result = judgments[run] && new Result(pair);
    result?.finish(judgments[run]);
    const nothing = `${index.runs[run]} did not judge this pair.`;
    holder.replaceChildren(result?.element ?? el("p", { class: "lacks" }, nothing));
  };
  show(chosenRun);
  if (index.runs.length === 1) return [holder];
  const tabs = index.runs.map((name, run) => {
    const input = el("input", { type: "radio", name: "run", value: run });
    input.checked = run === chosenRun;
    input.addEventListener("change", () => show(run));
    const words = el("span", { class: "name" }, key(run), name);
    return el("label", { class: "tab" }, input, words, sign(row.cells[run], run));
  });
  return [el("fieldset", { class: "tabs" }, el("legend", { class: "spoken" }, "Run"), ...tabs), holder];
}

sheet.addEventListener("keydown", (event) => {
  if (event.target.matches("input")) return; // there the arrows choose a run
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) open(active + step);
});
sheet.addEventListener("click", ({ target }) => target === sheet && sheet.close());

// --- all of it -------------------------------------------------------------------------------------

fillForm();
const names = index.runs.map((name, run) => el("span", { class: "cell", title: name }, key(run), name));
const cells = el("span", { class: "cells" }, ...names);
heads.append(el("span", {}, "pair"), el("span", {}, "question"), el("span", {}, "label"), cells);
const section = document.getElementById("judgments");
section.style.setProperty("--runs", index.runs.length);
section.append(form, told, el("div", { class: "list" }, heads, list), sheet);
filter();
