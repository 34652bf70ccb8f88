// The page at "/": asks the judge about a pair, and shows what it writes while it is written.

import { Result, el, headline, icon, reason } from "./judgment.js";

const EXAMPLE = {
  question: "Why is the sky blue? Explain it to a ten-year-old, in three sentences at most.",
  a:
    "Sunlight looks white, but it is a mix of all the colours of the rainbow. On its way through the air, blue light " +
    "is bounced around by tiny bits of gas far more than red light is. So when you look up, blue comes to your eyes " +
    "from every part of the sky!",
  b:
    "The sky is blue because it reflects the ocean, which covers about 71% of the Earth’s surface. Water absorbs the " +
    "longer wavelengths, so what remains is blue, and the atmosphere mirrors it back to the observer. This is also " +
    "why the sky is grey over cities. At sunset the ocean is further away and the sky turns red.",
};

// --- server-sent events ----------------------------------------------------------------------------

/** The events of a text/event-stream body, however it is cut into chunks, as {name, data}. */
export async function* serverEvents(body) {
  let rest = "";
  let name = "message";
  let data = [];
  for await (const chunk of chunks(body.pipeThrough(new TextDecoderStream()))) {
    const lines = (rest + chunk).split(/\r\n|\n|\r(?!$)/); // a last "\r" may be half of "\r\n"
    rest = lines.pop();
    for (const line of lines) {
      const [, field, value] = line.match(/^([^:]*):? ?(.*)$/s);
      if (line === "") {
        if (data.length) yield { name, data: data.join("\n") };
        name = "message";
        data = [];
      } else if (field === "event") name = value;
      else if (field === "data") data.push(value);
    }
  }
}

/** What a stream holds. Leaving the loop cancels it; not every browser can iterate over a stream by itself. */
async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (let read; !(read = await arrived(reader.read())).done; ) yield read.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Why there is no judgment, in a sentence; `status` is that of the server's response, where there was one. */
class Trouble extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** What comes over the network, or Trouble where the network fails. */
async function arrived(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server cannot be reached, or the connection broke. Is it still running?");
  }
}

/** What the judge says of a pair: its sections, the last of them with the judgment. */
async function* sections(pair, key, signal) {
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  const asked = { method: "POST", headers, body: JSON.stringify(pair), signal };
  const response = await arrived(fetch("v1/compare/stream", asked));
  if (!response.ok) {
    const told = await response.json().catch(() => null);
    throw new Trouble(told?.error?.message ?? `The server answered ${response.status}.`, response.status);
  }
  for await (const { name, data } of serverEvents(response.body)) {
    const told = JSON.parse(data);
    if (name === "error") throw new Trouble(told.error.message);
    yield told;
    if (told.judgment) return;
  }
  throw new Trouble("The connection ended before there was a judgment.");
}

// --- the form --------------------------------------------------------------------------------------

const form = document.getElementById("pair");
const fields = form.elements;
const error = document.getElementById("error");
const status = document.getElementById("status");
const [compare, stop, example] = ["compare", "stop", "example"].map((id) => document.getElementById(id));
let running = null;

function typedPair() {
  const pair = { question: fields.question.value, a: fields.a.value, b: fields.b.value };
  for (const name of ["reference", "rubric"]) if (fields[name].value.trim()) pair[name] = fields[name].value;
  return pair;
}

async function run() {
  if (running) return;
  running = new AbortController();
  const result = new Result(typedPair());
  begin(result);
  try {
    for await (const section of sections(result.pair, fields.key.value, running.signal)) {
      if (section.judgment) result.finish(section.judgment);
      else result.write(section);
      if (section.judgment) status.textContent = spoken(section.judgment, result.pair);
    }
  } catch (trouble) {
    result.breakOff();
    report(trouble);
    if (!(trouble instanceof Trouble) && trouble.name !== "AbortError") throw trouble; // a bug: the console has it too
  } finally {
    running = null;
    end();
  }
}

const spoken = (judgment, pair) => el("p", {}, ...headline(judgment), ". ", ...reason(judgment, pair)).textContent;

function begin(result) {
  error.hidden = true;
  status.textContent = "The judge is at work.";
  compare.setAttribute("aria-disabled", "true");
  stop.hidden = false;
  document.getElementById("result").replaceChildren(result.element);
  result.element.scrollIntoView({ block: "start" });
}

function end() {
  compare.removeAttribute("aria-disabled");
  if (document.activeElement === stop) compare.focus();
  stop.hidden = true;
}

/** Say what went wrong, and ask for a key where one is needed. */
function report(trouble) {
  if (trouble.name === "AbortError") {
    status.textContent = "Stopped.";
    return;
  }
  status.textContent = "";
  error.replaceChildren(icon("warning"), trouble.message);
  error.hidden = false;
  error.scrollIntoView({ block: "nearest" });
  if (trouble.status === 401) {
    const words = fields.key.value ? "This key does not open the server." : "This server opens with a key.";
    error.replaceChildren(icon("warning"), words);
    document.querySelector(".key").hidden = false;
    fields.key.focus();
  }
}

function offerExample() {
  example.hidden = ["question", "a", "b"].some((name) => fields[name].value);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  }
});
form.addEventListener("input", offerExample);
stop.addEventListener("click", () => running?.abort());
example.addEventListener("click", () => {
  for (const [name, text] of Object.entries(EXAMPLE)) fields[name].value = text;
  offerExample();
  fields.question.focus();
});
offerExample();
