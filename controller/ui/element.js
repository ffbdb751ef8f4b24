// Making elements without a framework, and without innerHTML: text from the server is never read as markup.

const SVG = "http://www.w3.org/2000/svg";

/** `element("button", {type, className, label, data: {testid}}, ...children)`; `label` is the accessible name. */
export function element(name, { label, data, role, ...properties } = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) if (value !== undefined) made[key] = value;
  if (label) made.setAttribute("aria-label", label);
  if (role) made.setAttribute("role", role);
  Object.assign(made.dataset, data);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** One of the symbols in index.html. Decoration: the accessible name belongs to what contains it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A sentence with its `names in backticks` set as code. */
export function spoken(text) {
  return text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));
}
