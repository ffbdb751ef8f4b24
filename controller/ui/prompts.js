// What the picture should become: weighted prompts, suggestions to start from, and how one prompt turns into the next.
//
// Decision: typing does not change the picture, Enter does. Half a word is a prompt too, and a bad one. Weights and
// suggestions act at once, because a slider or a chip is always a finished thought.

import { element, icon } from "./element.js";
import { saidIn, suggestionsOf, withSuggestion } from "./suggestions.js";

const MOST_PROMPTS = 6;

/** Colours that are shown rather than named; the paint itself is in controls.css. */
const PAINTS = new Set([
  "red",
  "orange",
  "yellow",
  "green",
  "teal",
  "blue",
  "purple",
  "pink",
  "warm",
  "cold",
  "pastel",
  "vivid",
]);
/** From this many on, a group of suggestions gets a box of its own that scrolls. */
const MANY = 16;

/** Event: `change` (detail: the patch to send). */
export class Prompts extends EventTarget {
  #root;
  #list;
  #chips;
  #blend;
  #transition;
  /** What the model was last told; null while no session runs and so nothing can lag behind. */
  #applied = null;
  #rows = [];
  #current = null;
  #suggestions = null;
  #temporalMethod = "linear";

  constructor(root) {
    super();
    this.#root = root;
    this.#list = root.querySelector("#prompt-list");
    this.#chips = root.querySelector("#suggestions");
    this.#blend = root.querySelector("#blend");
    this.#transition = root.querySelector("#transition");
    root.querySelector("#prompt-add").addEventListener("click", () => this.#addRow("").text.focus());
    root.querySelector("#prompt-apply").addEventListener("click", () => this.apply());
    this.#blend.addEventListener("change", () => this.#tell({ prompt_interpolation_method: this.#blend.value }));
    this.#transition.addEventListener("input", () => this.#showTransition());
    this.#addRow("");
    this.#showTransition();
  }

  /** Fits the editor to a model: whether it takes prompts, what it suggests, how it changes by default. */
  setModel(model) {
    const takesPrompts = model?.supports_prompts !== false;
    this.#root.classList.toggle("is-off", !takesPrompts);
    for (const control of this.#root.querySelectorAll("textarea, input, select, button"))
      control.disabled = !takesPrompts;
    this.#root.querySelector("#prompt-note").hidden = takesPrompts;
    this.#temporalMethod = model?.default_temporal_interpolation_method ?? "linear";
    this.#blend.value = model?.default_spatial_interpolation_method ?? "linear";
    this.#transition.value = model?.default_temporal_interpolation_steps ?? 0;
    this.#showTransition();
    this.#suggestions = takesPrompts ? suggestionsOf(model?.prompt_suggestions) : null;
    this.#drawChips();
    const empty = this.#rows.every(({ text }) => !text.value.trim());
    // The first style of a list is commonly the plain picture; the second one shows what the model is for.
    const opening = this.#suggestions?.styles[1] ?? this.#suggestions?.styles[0];
    if (empty && opening) this.setText(opening.prompts[0]);
    this.#markPending();
  }

  /** The initial parameters of a session. */
  initial() {
    this.#applied = this.#written();
    this.#markPending();
    return { prompts: this.#applied, prompt_interpolation_method: this.#blend.value };
  }

  /** The session is over: what is written counts from the next start on. */
  rest() {
    this.#applied = null;
    this.#markPending();
  }

  setText(text) {
    this.#current.text.value = text;
    fit(this.#current.text);
    this.#markPending();
    this.#markChips();
  }

  focus() {
    this.#current.text.focus();
    this.#current.text.select();
  }

  /** Sends what is written now, moving there in steps when a transition is set. */
  apply() {
    const prompts = this.#written();
    const steps = Number(this.#transition.value);
    if (this.#applied) this.#applied = prompts;
    this.#markPending();
    this.#tell(
      steps > 0
        ? {
            transition: {
              target_prompts: prompts,
              num_steps: steps,
              temporal_interpolation_method: this.#temporalMethod,
            },
          }
        : { prompts, prompt_interpolation_method: this.#blend.value },
    );
  }

  /** Shows prompts that came from elsewhere (REST, another controller). */
  reflect({ prompts, prompt_interpolation_method: blend, transition }) {
    const shown = transition?.target_prompts ?? prompts;
    if (blend) this.#blend.value = blend;
    if (!Array.isArray(shown) || shown.length === 0 || this.#root.contains(document.activeElement)) return;
    for (const row of [...this.#rows]) this.#removeRow(row);
    for (const { text = "", weight = 1 } of shown.slice(0, MOST_PROMPTS)) this.#addRow(text, weight);
    if (this.#applied) this.#applied = this.#written();
    this.#markPending();
    this.#markChips();
  }

  /** The prompts as they stand; with nothing written, one empty prompt, which is a prompt too. */
  #written() {
    const written = this.#rows
      .map(({ text, weight }) => ({
        text: text.value.trim(),
        weight: this.#rows.length > 1 ? Number(weight.value) : 1,
      }))
      .filter(({ text }) => text);
    return written.length > 0 ? written : [{ text: "", weight: 1 }];
  }

  #addRow(value, heaviness = 1) {
    const number = this.#rows.length + 1;
    const text = element("textarea", {
      id: number === 1 ? "prompt" : `prompt-${number}`,
      rows: 1,
      value,
      spellcheck: false,
      autocapitalize: "off",
      placeholder: "What should the picture become?",
      data: { testid: number === 1 ? "prompt" : `prompt-${number}` },
      label: `Prompt ${number}`,
    });
    text.setAttribute("enterkeyhint", "done");
    const weight = element("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.01,
      value: heaviness,
      label: `Weight of prompt ${number}`,
    });
    const shown = element("output", { className: "prompt-weight-value" });
    const remove = element(
      "button",
      { type: "button", className: "icon-button", label: `Remove prompt ${number}` },
      icon("close"),
    );
    const row = { text, weight, shown, item: null };
    row.item = element(
      "li",
      { className: "prompt-row" },
      text,
      element("span", { className: "prompt-weight" }, weight, shown),
      remove,
    );

    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.apply();
    });
    text.addEventListener("focus", () => {
      this.#current = row;
      this.#markChips();
    });
    text.addEventListener("input", () => {
      fit(text);
      this.#markPending();
      this.#markChips();
    });
    weight.addEventListener("input", () => {
      this.#showWeight(row);
      if (this.#applied) this.#applied = this.#written();
      this.#tell({ prompts: this.#written(), prompt_interpolation_method: this.#blend.value });
    });
    remove.addEventListener("click", () => {
      this.#removeRow(row);
      this.apply();
      this.#current.text.focus();
    });
    this.#rows.push(row);
    this.#list.append(row.item);
    this.#current = row;
    this.#showWeight(row);
    this.#countRows();
    fit(text);
    return row;
  }

  #removeRow(row) {
    row.item.remove();
    this.#rows.splice(this.#rows.indexOf(row), 1);
    this.#current = this.#rows.at(-1);
    this.#countRows();
    this.#markChips();
  }

  #countRows() {
    this.#root.classList.toggle("is-blend", this.#rows.length > 1);
    this.#root.querySelector("#prompt-add").disabled = this.#rows.length >= MOST_PROMPTS;
  }

  #showWeight({ weight, shown }) {
    shown.value = `${Math.round(weight.value * 100)} %`;
    weight.style.setProperty("--fill", weight.value);
  }

  #showTransition() {
    const steps = Number(this.#transition.value);
    this.#root.querySelector("#transition-value").value = steps === 0 ? "at once" : `${steps} steps`;
    this.#transition.setAttribute("aria-valuetext", steps === 0 ? "at once" : `in ${steps} steps`);
    this.#transition.style.setProperty("--fill", steps / Number(this.#transition.max));
  }

  #markPending() {
    const pending = this.#applied !== null && JSON.stringify(this.#written()) !== JSON.stringify(this.#applied);
    this.#root.classList.toggle("is-pending", pending);
  }

  #drawChips() {
    this.#chips.replaceChildren();
    const groups = this.#suggestions;
    this.#chips.hidden = !groups;
    if (!groups) return;
    const rows = [
      ["Style", groups.styles, "styles"],
      ["Colour", groups.colours, "colours"],
      ["Light", groups.lights, "lights"],
    ];
    for (const [title, entries, group] of rows) {
      if (entries.length === 0) continue;
      const chips = entries.map((entry) => {
        entry.chip = group === "colours" && PAINTS.has(entry.id) ? swatch(entry) : chip(entry);
        entry.chip.addEventListener("click", () => this.#choose(group, entry));
        return entry.chip;
      });
      const heading = element("span", { className: "chip-title", id: `chips-${group}` }, title);
      const list = element("div", { className: "chip-list", role: "toolbar" }, ...chips);
      list.setAttribute("aria-labelledby", heading.id);
      moveWithArrows(list, chips);
      const row = element("div", { className: "chip-row" }, heading, list);
      row.classList.toggle("is-tall", entries.length > MANY);
      this.#chips.append(row);
    }
    this.#markChips();
  }

  #choose(group, entry) {
    this.setText(withSuggestion(this.#current.text.value, entry, this.#suggestions[group], group === "styles"));
    this.apply();
  }

  #markChips() {
    if (!this.#suggestions) return;
    const text = this.#current?.text.value ?? "";
    for (const entries of Object.values(this.#suggestions)) {
      for (const entry of entries) entry.chip?.setAttribute("aria-pressed", String(Boolean(saidIn(text, entry))));
    }
  }

  #tell(patch) {
    this.dispatchEvent(new CustomEvent("change", { detail: patch }));
  }
}

const chip = ({ id, label, hint }) =>
  element("button", { type: "button", className: "chip", title: hint, data: { testid: `chip-${id}` } }, label);

const swatch = ({ id, label }) =>
  element("button", {
    type: "button",
    className: "chip swatch",
    title: label,
    label,
    data: { testid: `chip-${id}`, paint: id },
  });

/** One stop for the Tab key however many chips there are; arrows, Home and End go from chip to chip. */
function moveWithArrows(list, chips) {
  const reach = (next) =>
    chips.forEach((one) => {
      one.tabIndex = one === next ? 0 : -1;
    });
  reach(chips[0]);
  list.addEventListener("focusin", ({ target }) => reach(target));
  list.addEventListener("keydown", (event) => {
    const at = chips.indexOf(event.target);
    const to = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: chips.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    chips.at(to % chips.length).focus();
  });
}

/** Grows the field with its text instead of hiding lines. */
function fit(textarea) {
  textarea.style.height = "auto";
  textarea.style.height = `${textarea.scrollHeight + 2}px`;
}
