// A judgment, as elements: its outcome, both answers with their quotes marked, and what each reading wrote.
// What users and models wrote becomes text nodes and nothing else; no string is ever read as markup.

const PARTS = {
  thinking: "Thinking",
  rubric: "Rubric",
  justify: "Why these criteria",
  solution: "Its own solution",
  eval: "Evaluation",
  prose: "Outside its form",
};
const ORDERS = {
  AB: { title: "A shown first", note: "shown in your order: its A is your A" },
  BA: { title: "B shown first", note: "shown in the other order: its A is your B" },
};

const ICONS = {
  yes: "M3 8.5 6.5 12 13 4.5",
  no: "m4 4 8 8m0-8-8 8",
  tie: "M3 6h10M3 10h10",
  unreadable: "M13.5 8a5.5 5.5 0 1 1-11 0 5.5 5.5 0 0 1 11 0zM4.2 11.8l7.6-7.6",
  swap: "M3 5.5h9.5L10 3m3 7.5H3.5L6 13",
  back: "M10 3 5 8l5 5",
  on: "m6 3 5 5-5 5",
  warning: "M8 2.5 14.5 13.5h-13zM8 6.8v3.2m0 1.5v.5",
};

// --- making elements -------------------------------------------------------------------------------

/** An element with attributes and children. Strings become text; null is left out. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A small drawing beside words that say the same. */
export function icon(name) {
  const [svg, path] = ["svg", "path"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  const attributes = { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", "data-icon": name };
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value);
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** The letter of a side, in its colour. */
export const letter = (side) => el("b", { class: "side", "data-side": side }, side);

/** A bar filled to a fraction. CSSOM, because the server's policy forbids style attributes. */
function bar(fraction, attributes = {}) {
  const fill = el("span");
  fill.style.setProperty("--share", fraction);
  return el("div", { class: "bar", ...attributes }, fill);
}

const unreadable = () => [icon("unreadable"), "unreadable"];
const percent = (fraction) => `${Math.round(fraction * 100)}%`;
export const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

// --- quotes ----------------------------------------------------------------------------------------

const placeOf = (citation) => `${citation.side}-${citation.start}`;

/**
 * A text with the places of its quotes marked, as nodes; `from` is the offset of its beginning.
 *
 * Offsets count code points, as Python's do; JavaScript's own count UTF-16 units. Quotes may overlap: the text is
 * cut wherever one begins or ends.
 */
function marked(text, quotes, from = 0) {
  const points = Array.from(text);
  const end = from + points.length;
  const cuts = quotes.flatMap((quote) => [quote.start, quote.end]).filter((cut) => from < cut && cut < end);
  const places = [...new Set([from, end, ...cuts])].sort((one, other) => one - other);
  return places.slice(0, -1).map((start, i) => {
    const piece = points.slice(start - from, places[i + 1] - from).join("");
    const quote = quotes.find((quote) => quote.start <= start && start < quote.end);
    return quote ? el("mark", { id: placeOf({ side: quote.side, start }), tabindex: -1 }, piece) : piece;
  });
}

/** A text, or the turns of a conversation; offsets run through its assistant's messages, a newline between them. */
export function conversation(value, quotes = []) {
  if (typeof value === "string") {
    return [el("div", { class: "prose" }, ...(value ? marked(value, quotes) : [el("i", {}, "empty")]))];
  }
  let from = 0;
  return value.map(({ role, content }) => {
    const ours = role === "assistant";
    const said = ours ? marked(content, quotes, from) : [content];
    if (ours) from += Array.from(content).length + 1;
    return el("div", { class: "turn" }, el("h4", {}, role), el("div", { class: "prose" }, ...said));
  });
}

/** A found quote once for each part of it, each with its place; older judgments have one place alone. */
function parts(quote) {
  const spans = quote.spans?.length ? quote.spans : [[quote.start, quote.end]];
  return spans.map(([start, end]) => ({ ...quote, start, end }));
}

/** A quote in the judge's prose, with where it comes from: a link to its place, or word that it has none. */
function quoted(citation) {
  const { side, text, found } = citation;
  if (found) {
    const attributes = { class: "quote", "data-side": side, href: `#${placeOf(citation)}` };
    return el("a", attributes, `“${text}”`, el("span", { class: "from" }, icon("yes"), `in ${side}`));
  }
  const missing = found === false; // null: looking would have taken too long
  const from = missing ? [icon("no"), `not in ${side}`] : [`of ${side}, not looked up`];
  return el("span", { class: missing ? "quote missing" : "quote" }, `“${text}”`, el("span", { class: "from" }, ...from));
}

/** The evaluation with its quotes in place. Those that stand elsewhere, or in other words, follow in a list. */
function evaluation(verdict) {
  const prose = verdict.evaluation ?? "";
  const nodes = [];
  const others = [];
  let at = 0;
  for (const citation of verdict.citations.filter(({ kind }) => kind === "quote")) {
    const start = prose.indexOf(`“${citation.text}”`, at);
    if (start < 0) {
      others.push(el("li", {}, quoted(citation)));
      continue;
    }
    nodes.push(prose.slice(at, start), quoted(citation));
    at = start + citation.text.length + 2;
  }
  nodes.push(prose.slice(at));
  return others.length ? [...nodes, el("ul", { class: "quotes" }, ...others)] : nodes;
}

// --- one reading -----------------------------------------------------------------------------------

function rubricBars(criteria) {
  return criteria.map(({ name, weight, description }) =>
    el(
      "div",
      { class: "criterion" },
      el("span", { class: "name" }, name),
      weight === null ? null : el("span", { class: "weight" }, percent(weight)),
      weight === null ? null : bar(weight, { "aria-hidden": "true" }),
      description ? el("p", {}, description) : null,
    ),
  );
}

/** Why there is no verdict: a sentence, and the kind of failure. */
function why(failure) {
  return failure ? [failure.message, " ", el("code", {}, failure.kind)] : ["Nothing could be read."];
}

/** A side's letter, or the sign of a tie. */
function signOf(winner) {
  return winner === "tie" ? icon("tie") : letter(winner);
}

/** What a verdict comes to, in a line: its winner in the caller's sides, or why there is none. */
function conclusion({ winner, p_a, forced, failure, shown }) {
  if (!winner) {
    return el("p", { class: "conclusion unreadable" }, icon("unreadable"), "Unreadable: ", ...why(failure));
  }
  const called = shown === "BA" ? `, which it calls ${winner === "A" ? "B" : "A"}` : "";
  const probability = p_a === null ? "" : `, probability of A ${p_a.toFixed(2)}`;
  const says = winner === "tie" ? [icon("tie"), "Says that both are equal"] : ["Prefers your ", letter(winner), called];
  const line = el("p", { class: "conclusion" }, ...says, probability);
  const note = "Forced: the judge had not come to a verdict by itself.";
  if (forced) line.append(el("span", { class: "forced" }, icon("warning"), note));
  return line;
}

/** One reading of the pair: its sections as they are written, then as its verdict has them. */
class Reading {
  constructor(vote, attempt) {
    this.parts = new Map();
    this.task = el("span", { class: "task" });
    this.state = el("span", { class: "state" }, "begins");
    const name = attempt ? `Reading ${vote + 1}, asked once more` : `Reading ${vote + 1}`;
    this.element = el("details", { class: "reading" }, el("summary", {}, name, this.task, this.state));
    this.element.open = vote === 0; // the first tells what the others would
  }

  /** Take a piece of a section. */
  write({ name, text, done }) {
    this.state.textContent = `writing: ${(PARTS[name] ?? name).toLowerCase()}`;
    if (name === "type") this.task.textContent += text;
    if (!(name in PARTS)) return;
    const body = this.part(name);
    if (!(body.lastChild instanceof Text)) body.append("");
    body.lastChild.appendData(text);
    body.classList.toggle("being-written", !done);
  }

  /** The body of a section, made when it is first asked for. */
  part(name) {
    if (!this.parts.has(name)) {
      const body = el("div", { class: "prose" });
      const folded = name === "thinking";
      const title = folded ? el("summary", {}, PARTS[name]) : el("h3", {}, PARTS[name]);
      this.parts.set(name, body);
      this.element.append(el(folded ? "details" : "section", { class: "part", "data-part": name }, title, body));
    }
    return this.parts.get(name);
  }

  /** Show the verdict, and what it made of the text in place of what was told. */
  settle(verdict) {
    if (verdict.text) this.show(verdict); // none: time ran out, and what was told stays
    this.element.append(conclusion(verdict));
    const forced = verdict.forced ? "forced, " : "";
    this.end(...(verdict.winner ? [`${forced}${verdict.winner === "tie" ? "" : "prefers "}`, signOf(verdict.winner)] : unreadable()));
  }

  show(verdict) {
    const { rubric } = verdict;
    const read = {
      thinking: [verdict.thinking],
      rubric: rubricBars(rubric?.criteria ?? []),
      justify: [rubric?.justification],
      solution: [verdict.solution],
      eval: evaluation(verdict),
    };
    for (const [name, nodes] of Object.entries(read)) {
      const kept = nodes.filter(Boolean);
      if (kept.length) this.part(name).replaceChildren(...kept);
      else this.remove(name);
    }
    this.remove("prose"); // it is in the whole text
    this.task.textContent = verdict.task ?? "";
    const title = el("summary", {}, "The whole text");
    const whole = el("details", { class: "part", "data-part": "text" }, title, el("pre", {}, verdict.text));
    whole.open = this.parts.size === 0;
    this.element.append(whole);
  }

  remove(name) {
    this.parts.get(name)?.parentElement.remove();
    this.parts.delete(name);
  }

  /** Nothing more is written. */
  end(...words) {
    this.state.replaceChildren(...words);
    for (const body of this.parts.values()) body.classList.remove("being-written");
  }
}

// --- the outcome -----------------------------------------------------------------------------------

/** The headline. A tie and an unreadable verdict are different things. */
export function headline({ winner }) {
  if (winner === null) return [icon("unreadable"), "No verdict"];
  if (winner === "tie") return [icon("tie"), "Tie"];
  return [letter(winner), " is better"];
}

/** Why it came to this, in a sentence. */
export function reason({ winner, verdicts, position_consistent }, pair) {
  if (!verdicts.length) {
    const same = pair && JSON.stringify(pair.a) === JSON.stringify(pair.b);
    if (!same) return ["Only the outcome is known: there are no readings."];
    return ["Both answers say the same, so no judge was asked."];
  }
  if (winner === null) return why(verdicts.find(({ failure }) => failure)?.failure);
  if (position_consistent !== null) return [position_consistent ? "Both orders agree." : "The two orders disagree."];
  const orders = new Set(verdicts.map(({ shown }) => shown));
  return [orders.size > 1 ? "Only one of the two orders could be read." : "The judge was asked in one order only."];
}

function probabilityBar(p_a) {
  if (p_a === null) {
    const words = "There is no probability, because nothing could be read.";
    return el("div", { class: "probability" }, el("div", { class: "bar none" }), el("p", {}, words));
  }
  const range = { "aria-valuemin": 0, "aria-valuemax": 1, "aria-valuenow": p_a };
  const meter = bar(p_a, { role: "meter", "aria-label": "Probability of A", ...range });
  return el(
    "div",
    { class: "probability" },
    el("div", { class: "scale" }, letter("A"), meter, letter("B")),
    el("p", {}, "Probability of A ", el("strong", {}, p_a.toFixed(2))),
  );
}

/** The votes of an order, one sign each: a letter, or that it could not be read. */
function votes(shown, verdicts) {
  const signs = verdicts.map(({ winner, forced }) => {
    const words = winner ? (forced ? ", forced" : "") : "unreadable";
    const vote = winner ? signOf(winner) : icon("unreadable");
    return el("li", { class: forced ? "vote forced" : "vote" }, vote, el("span", { class: "spoken" }, words));
  });
  return el("div", { class: "order-votes" }, el("span", {}, ORDERS[shown].title), el("ul", {}, ...signs));
}

function figures(judgment) {
  const { usage, latency_s, agreement, position_effect, model, prompt } = judgment;
  const cached = usage.cached_tokens ? `, ${usage.cached_tokens.toLocaleString("en")} of them cached` : "";
  const effect = `${position_effect < 0 ? "−" : "+"}${Math.abs(position_effect).toFixed(2)} for the answer shown first`;
  const rows = [
    ["Position effect", position_effect === null ? null : effect],
    ["Agreement", agreement === null ? null : `${percent(agreement)} of readable votes`],
    ["Read", count(usage.prompt_tokens, "token") + cached],
    ["Written", count(usage.completion_tokens, "token")],
    ["Time", `${latency_s.toFixed(1)} s`],
    ["Judge", model],
    ["Prompt", prompt],
  ];
  const shown = rows.filter(([, value]) => value);
  return el("dl", {}, ...shown.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

function outcome(judgment, pair) {
  const orders = ["AB", "BA"].map((shown) => [shown, judgment.verdicts.filter((verdict) => verdict.shown === shown)]);
  const asked = orders.filter(([, verdicts]) => verdicts.length);
  const forced = judgment.verdicts.filter((verdict) => verdict.forced).length;
  const note = `${count(forced, "verdict")} forced: the judge had not come to it by itself.`;
  return [
    el("h2", {}, ...headline(judgment)),
    el("p", { class: "reason" }, ...reason(judgment, pair)),
    probabilityBar(judgment.p_a),
    el("div", { class: "orders-votes" }, ...asked.map(([shown, verdicts]) => votes(shown, verdicts))),
    forced ? el("p", { class: "forced" }, icon("warning"), note) : null,
    figures(judgment),
  ].filter(Boolean);
}

/** Everything there is to see of one comparison; `pair` is null where only its judgment is known. */
export class Result {
  constructor(pair) {
    this.pair = pair;
    this.orders = new Map();
    this.readings = new Map();
    const waiting = { class: "outcome waiting", "aria-label": "Outcome" };
    this.outcome = el("section", waiting, el("h2", {}, "The judge is at work"), bar(0));
    this.answers = ["A", "B"].map((side) => el("section", { class: "answer", "data-side": side }));
    this.columns = el("div", { class: "columns" });
    this.element = el(
      "div",
      { class: "result" },
      this.outcome,
      ...(pair ? [el("h2", { class: "over" }, "The answers"), el("div", { class: "sides" }, ...this.answers)] : []),
      this.columns,
    );
    this.showAnswers([]);
  }

  /** The answers as they were sent, with the quotes from them. */
  showAnswers(citations) {
    if (!this.pair) return;
    for (const body of this.answers) {
      const { side } = body.dataset;
      const known = this.pair.label === side ? el("span", { class: "known" }, "labelled better") : null;
      const quotes = citations.filter((citation) => citation.side === side && citation.kind === "quote");
      const nodes = conversation(this.pair[side.toLowerCase()], quotes.filter(({ found }) => found).flatMap(parts));
      body.replaceChildren(el("h3", {}, "Answer ", letter(side), known ?? ""), ...nodes);
      const missing = new Set(quotes.filter(({ found }) => found === false).map((quote) => quote.text));
      if (missing.size) {
        const list = [...missing].map((quote) => el("li", {}, `“${quote}”`));
        const title = el("h4", {}, icon("no"), "Quoted, but not found here");
        body.append(el("div", { class: "missing" }, title, el("ul", {}, ...list)));
      }
    }
  }

  /** The column of an order, where its readings stand one under the other. */
  order(shown) {
    if (!this.orders.has(shown)) {
      const { title, note } = ORDERS[shown];
      const heading = [el("h2", {}, title), el("p", { class: "note" }, note)];
      const column = el("section", { class: "order", "data-shown": shown }, ...heading);
      this.orders.set(shown, column);
      if (shown === "AB") this.columns.prepend(column);
      else this.columns.append(column);
    }
    return this.orders.get(shown);
  }

  reading(shown, vote, attempt) {
    const key = `${shown} ${vote} ${attempt}`;
    if (!this.readings.has(key)) {
      const reading = new Reading(vote, attempt);
      this.readings.set(key, reading);
      this.order(shown).append(reading.element);
    }
    return this.readings.get(key);
  }

  write(section) {
    this.reading(section.shown, section.vote, section.attempt).write(section);
  }

  finish(judgment) {
    const votes = { AB: 0, BA: 0 };
    for (const verdict of judgment.verdicts) {
      const vote = votes[verdict.shown]++;
      const first = this.reading(verdict.shown, vote, 0);
      const again = this.readings.get(`${verdict.shown} ${vote} 1`);
      if (!again) first.settle(verdict);
      else if (verdict.failure?.kind === "timeout") {
        first.settle(verdict); // the verdict is of the last text that was finished
        again.end("broken off");
      } else {
        first.end(...unreadable());
        first.element.open = false;
        again.settle(verdict);
      }
    }
    this.showAnswers(judgment.verdicts.flatMap((verdict) => verdict.citations));
    this.outcome.classList.remove("waiting");
    this.outcome.dataset.winner = judgment.winner ?? "none";
    this.outcome.replaceChildren(...outcome(judgment, this.pair));
  }

  /** It ended before there was a judgment. */
  breakOff() {
    if (!this.readings.size) this.element.remove();
    this.outcome.remove();
    for (const reading of this.readings.values()) reading.end("broken off");
  }
}
