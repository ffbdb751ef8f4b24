// The model's own controls, drawn from its schema. One class per panel; one small builder per kind of control.

import { asSentence } from "./api.js";
import { element, icon } from "./element.js";
import { Patches } from "./patches.js";
import { fieldsOf, readSteps } from "./schema.js";

/** Event: `change` (detail: the patch to send). */
export class Parameters extends EventTarget {
  #live;
  #atLoad;
  #fields = [];
  #values = new Map();
  #patches = new Patches((detail) => this.dispatchEvent(new CustomEvent("change", { detail })));

  /** @param live where live controls go @param atLoad where those go that only count when the model is loaded */
  constructor(live, atLoad) {
    super();
    this.#live = live;
    this.#atLoad = atLoad;
  }

  /** Draws the controls of a model; values that carry over by name and fit are kept. */
  setModel(model, mode) {
    const kept = new Map(this.#fields.filter(({ touched }) => touched).map((field) => [field.name, field]));
    this.#fields = fieldsOf(model, mode);
    this.#live.replaceChildren();
    this.#atLoad.replaceChildren();
    for (const field of this.#fields) {
      const before = kept.get(field.name);
      const same =
        before && before.kind === field.kind && before.maximum === field.maximum && before.minimum === field.minimum;
      this.#values.set(field.name, same ? this.#values.get(field.name) : field.initial);
      field.touched = Boolean(same);
      field.control = BUILDERS[field.kind](field, (value) => this.#set(field, value));
      (field.atLoad ? this.#atLoad : this.#live).append(field.control.root);
      field.control.show(this.#values.get(field.name));
    }
  }

  get hasLive() {
    return this.#fields.some(({ atLoad }) => !atLoad);
  }

  get hasAtLoad() {
    return this.#fields.some(({ atLoad }) => atLoad);
  }

  /** What the server has to know when a session starts, under its names on the wire. */
  initial() {
    return Object.fromEntries(this.#said(false).map(({ wireName, name }) => [wireName, this.#values.get(name)]));
  }

  /** What the server has to know when the model is loaded, under its names in the schema. */
  loadParams() {
    return Object.fromEntries(this.#said(true).map(({ name }) => [name, this.#values.get(name)]));
  }

  /** Shows values that came from elsewhere; nothing is sent back. */
  reflect(patch) {
    for (const field of this.#fields) {
      const value = patch[field.wireName] ?? patch[field.name];
      if (value === undefined || value === null) continue;
      this.#values.set(field.name, value);
      field.touched = true;
      field.control.show(value);
    }
  }

  reset() {
    const patch = {};
    for (const field of this.#fields) {
      if (field.atLoad) continue;
      this.#values.set(field.name, field.initial);
      field.touched = false;
      field.control.show(field.initial);
      if (field.initial !== null) patch[field.wireName] = field.initial;
    }
    this.#patches.tell(patch);
  }

  /** A null that nobody touched means "the server decides", so it is not said. */
  #said(atLoad) {
    return this.#fields.filter((field) => field.atLoad === atLoad && (this.#values.get(field.name) ?? null) !== null);
  }

  #set(field, value) {
    this.#values.set(field.name, value);
    field.touched = true;
    // "The model's own" cannot be said to a running session; it counts from the next start on.
    if (!field.atLoad && value !== null) this.#patches.tell({ [field.wireName]: value });
  }
}

const BUILDERS = {
  range: buildRange,
  number: buildNumber,
  switch: buildSwitch,
  choice: buildChoice,
  numbers: buildNumbers,
  text: buildText,
};

const idOf = (field) => `parameter-${field.name}`;
const testIdOf = (field) => ({ testid: idOf(field) });

/** The frame every control shares: name, control, and a note that the control points at. */
function framed(field, control, ...aside) {
  const note = field.note
    ? element("p", { className: "note", id: `${idOf(field)}-note` }, asSentence(field.note))
    : null;
  if (note) control.setAttribute("aria-describedby", note.id);
  const name = element("label", { className: "name", htmlFor: control.id }, field.label);
  return {
    name,
    note,
    root: element("div", { className: `field field-${field.kind}` }, name, ...aside, control, note),
  };
}

function buildRange(field, set) {
  const span = field.maximum - field.minimum;
  const step = field.step ?? (field.integer ? 1 : span > 20 ? 0.1 : 0.01);
  const limits = { min: field.minimum, max: field.maximum, step };
  const slider = element("input", { type: "range", id: idOf(field), data: testIdOf(field), ...limits });
  const number = element("input", {
    type: "number",
    className: "number",
    inputMode: "decimal",
    label: `${field.label}, exact value`,
    ...limits,
  });
  const show = (value) => {
    const known = value ?? field.minimum;
    slider.value = known;
    if (document.activeElement !== number) number.value = value === null ? "" : round(known);
    slider.style.setProperty("--fill", span ? (known - field.minimum) / span : 0);
  };
  slider.addEventListener("input", () => {
    number.value = round(slider.valueAsNumber);
    show(slider.valueAsNumber);
    set(slider.valueAsNumber);
  });
  number.addEventListener("input", () => {
    if (number.value === "" || !number.validity.valid) return;
    show(number.valueAsNumber);
    set(number.valueAsNumber);
  });
  number.addEventListener("blur", () => show(slider.valueAsNumber));
  const { root } = framed(field, slider);
  slider.after(number);
  return { root, show };
}

function buildNumber(field, set) {
  const isSeed = field.wireName === "seed";
  const number = element("input", {
    type: "number",
    id: idOf(field),
    className: "number",
    data: testIdOf(field),
    inputMode: "numeric",
    min: field.minimum,
    max: field.maximum,
    step: field.step ?? (field.integer ? 1 : "any"),
  });
  number.addEventListener("change", () => {
    if (number.value !== "" && number.validity.valid) set(number.valueAsNumber);
  });
  const show = (value) => {
    number.value = value ?? "";
  };
  const dice = isSeed
    ? element("button", { type: "button", className: "icon-button", label: "Another seed" }, icon("dice"))
    : null;
  dice?.addEventListener("click", () => {
    const seed = Math.floor(Math.random() * 1_000_000);
    show(seed);
    set(seed);
  });
  return { root: framed(field, number, dice).root, show };
}

function buildSwitch(field, set) {
  const box = element("input", {
    type: "checkbox",
    role: "switch",
    id: idOf(field),
    className: "switch",
    data: testIdOf(field),
  });
  box.addEventListener("change", () => set(box.checked));
  return {
    root: framed(field, box).root,
    show: (value) => {
      box.checked = value === true;
    },
  };
}

function buildChoice(field, set) {
  const options = field.choices.map((choice, index) =>
    element("option", { value: String(index) }, choice === null ? "none" : String(choice)),
  );
  const select = element("select", { id: idOf(field), data: testIdOf(field) }, ...options);
  select.addEventListener("change", () => set(field.choices[Number(select.value)]));
  return {
    root: framed(field, select).root,
    show: (value) => {
      select.value = String(field.choices.indexOf(value));
    },
  };
}

function buildNumbers(field, set) {
  const input = element("input", {
    type: "text",
    id: idOf(field),
    data: testIdOf(field),
    inputMode: "text",
    autocomplete: "off",
    spellcheck: false,
    placeholder: field.initial === null ? "the model's own" : "for example 700, 400",
  });
  const problem = element("p", { className: "problem", id: `${idOf(field)}-problem` });
  problem.setAttribute("aria-live", "polite");
  const frame = framed(field, input);
  frame.root.append(problem);
  input.addEventListener("input", () => {
    const { values, problem: sentence } = readSteps(input.value, { falling: field.wireName === "denoising_step_list" });
    problem.textContent = sentence ?? "";
    input.setAttribute("aria-invalid", String(Boolean(sentence)));
    if (values !== undefined) set(values);
  });
  return {
    root: frame.root,
    show: (values) => {
      if (document.activeElement === input) return;
      input.value = (values ?? []).join(", ");
      input.setAttribute("aria-invalid", "false");
      problem.textContent = "";
    },
  };
}

function buildText(field, set) {
  const input = element("input", { type: "text", id: idOf(field), data: testIdOf(field), autocomplete: "off" });
  input.addEventListener("change", () => set(input.value));
  return {
    root: framed(field, input).root,
    show: (value) => {
      input.value = value ?? "";
    },
  };
}

/** Two decimals at most, without trailing zeros. */
const round = (value) => String(Math.round(value * 100) / 100);
