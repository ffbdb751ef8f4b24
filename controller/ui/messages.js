// Sentences for people: the card over the output, short messages at the edge, and what a screen reader hears.

import { asSentence, ServerError } from "./api.js";
import { element, icon, spoken } from "./element.js";

const INFO_STAYS_MS = 6_000;
const MOST_MESSAGES = 3;

const list = document.getElementById("messages");
const announcer = document.getElementById("announcer");
const card = {
  root: document.getElementById("card"),
  title: document.getElementById("card-title"),
  text: document.getElementById("card-text"),
  more: document.getElementById("card-more"),
  lines: document.getElementById("card-lines"),
  progress: document.getElementById("card-progress"),
  action: document.getElementById("card-action"),
};
let onAction = () => {};
card.action.addEventListener("click", () => onAction());

/** What went wrong and what to do next, whatever was thrown. */
export function explain(error) {
  if (error instanceof ServerError || error.hint !== undefined) return { sentence: error.message, hint: error.hint };
  return { sentence: asSentence(`The page met a problem: ${error.message}`), hint: "Reload the page and try again." };
}

/** A short message at the edge. Errors stay until dismissed; the rest goes by itself. */
export function say(sentence, { hint = "", isError = false } = {}) {
  if (isError) noteError(sentence);
  const dismiss = element("button", { type: "button", className: "icon-button", label: "Dismiss" }, icon("close"));
  const item = element(
    "div",
    { className: isError ? "message is-error" : "message", data: { testid: isError ? "error" : "message" } },
    element("p", {}, ...spoken(sentence), hint ? element("span", { className: "hint" }, " ", ...spoken(hint)) : null),
    dismiss,
  );
  dismiss.addEventListener("click", () => item.remove());
  // The same complaint twice is one complaint.
  for (const other of [...list.children])
    if (other.firstChild.textContent === item.firstChild.textContent) other.remove();
  list.append(item);
  while (list.children.length > MOST_MESSAGES) list.firstElementChild.remove();
  if (!isError) setTimeout(() => item.remove(), INFO_STAYS_MS);
}

export function sayError(error) {
  const { sentence, hint } = explain(error);
  say(sentence, { hint, isError: true });
}

/** Fills the card over the output. `progress`: a fraction, `true` for "busy", or undefined. */
export function showCard({ title, text = "", progress, action, act, isError = false }) {
  card.root.hidden = false;
  card.root.classList.toggle("is-error", isError);
  // The first line says what happened and what to do; a list of attempts below it is for whoever asks.
  const [first, ...lines] = title.trim().split("\n");
  const said = lines.length > 0 ? first.replace(/[;,.]? tried:$/, ".") : first;
  // Sentences of the elements bring their remedy along, behind the last semicolon.
  const at = text ? -1 : said.lastIndexOf("; ");
  // Written only when different: a live region would read the same words again.
  write(card.title, at < 0 ? said : `${said.slice(0, at)}.`);
  write(card.text, at < 0 ? text : capital(said.slice(at + 2)));
  write(card.lines, lines.map((line) => line.trim()).join("\n"));
  card.more.hidden = lines.length === 0;
  if (isError) {
    card.title.dataset.testid = "error";
    noteError(title);
  } else {
    delete card.title.dataset.testid;
  }
  card.progress.hidden = progress === undefined;
  if (typeof progress === "number") card.progress.value = progress;
  else card.progress.removeAttribute("value");
  card.action.hidden = !action;
  card.action.textContent = action ?? "";
  onAction = act ?? (() => {});
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function write(line, text) {
  if (line.textContent !== text.replaceAll("`", "")) line.replaceChildren(...spoken(text));
}

export function hideCard() {
  card.root.hidden = true;
}

export function announce(text) {
  announcer.textContent = text;
}

/** The last error, where a test or a support question can find it. */
export function noteError(sentence) {
  document.body.dataset.error = sentence;
}

export function forgetErrors() {
  delete document.body.dataset.error;
  for (const item of [...list.querySelectorAll(".is-error")]) item.remove();
}
