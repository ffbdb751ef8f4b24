// Reading a model's schema: which of its fields become controls, of which kind, with which name on the wire.
// Pure: no document, no network.

/** Where the name on the wire differs from the name in the schema. */
const WIRE_NAMES = { denoising_steps: "denoising_step_list", base_seed: "seed" };

/** Set elsewhere on the page, or not by hand at all. */
const NOT_DRAWN = new Set(["height", "width", "prompts", "input_size", "ctrl_input", "vace_context_scale"]);

/** Fields worth a control when a schema marks none with `ui`. */
const DRAWN_UNMARKED = new Set(["denoising_steps", "noise_scale", "noise_controller", "base_seed", "manage_cache"]);

const WELL_KNOWN_LABELS = new Map([
  ["base_seed", "Seed"],
  ["denoising_steps", "Denoising steps"],
]);

/** All controls of a model for one input mode (`text` or `video`), in order. */
export function fieldsOf(model, mode) {
  const root = model?.config_schema ?? {};
  const properties = Object.entries(root.properties ?? {});
  const marked = properties.some(([, property]) => property.ui);
  return properties
    .filter(([name, property]) => !NOT_DRAWN.has(name) && (marked ? property.ui : DRAWN_UNMARKED.has(name)))
    .filter(([, { ui }]) => !ui?.modes || ui.modes.includes(mode))
    .map(([name, property]) => fieldOf(name, property, root, model.mode_defaults?.[mode]))
    .filter(Boolean)
    .sort((a, b) => a.order - b.order);
}

function fieldOf(name, property, root, overrides) {
  const shape = shapeOf(property, root);
  const kind = kindOf(shape);
  if (!kind) return null;
  const ui = property.ui ?? {};
  // A mode may say null on purpose: "not in this mode".
  const initial = (overrides && name in overrides ? overrides[name] : property.default) ?? null;
  return {
    name,
    wireName: WIRE_NAMES[name] ?? name,
    kind,
    label: ui.label ?? WELL_KNOWN_LABELS.get(name) ?? titled(property.title ?? name),
    note: property.description ?? "",
    order: ui.order ?? 1000,
    atLoad: ui.is_load_param === true,
    choices: shape.enum ?? (shape.const === undefined ? undefined : [shape.const]),
    integer: shape.type === "integer",
    minimum: shape.minimum ?? bump(shape.exclusiveMinimum, shape.type, 1),
    maximum: shape.maximum ?? bump(shape.exclusiveMaximum, shape.type, -1),
    step: shape.multipleOf,
    items: { minimum: shape.items?.minimum, maximum: shape.items?.maximum, most: shape.maxItems },
    initial,
  };
}

/** Looks through `$ref`, single `allOf`, and the `anyOf [X, null]` that says "optional X". */
function shapeOf(property, root) {
  let shape = property;
  for (let depth = 0; depth < 8; depth += 1) {
    if (shape.$ref) shape = { ...shape, ...resolve(shape.$ref, root), $ref: undefined };
    else if (shape.allOf?.length === 1) shape = { ...shape, ...shape.allOf[0], allOf: undefined };
    else if (shape.anyOf) {
      const some = shape.anyOf.find(({ type }) => type !== "null");
      if (!some) return shape;
      shape = { ...shape, ...some, anyOf: some.anyOf };
    } else if (Array.isArray(shape.type)) shape = { ...shape, type: shape.type.find((type) => type !== "null") };
    else return shape;
  }
  return shape;
}

function resolve(reference, root) {
  return (
    reference
      .replace(/^#\//, "")
      .split("/")
      .reduce((at, part) => at?.[part], root) ?? {}
  );
}

function kindOf(shape) {
  if (shape.enum) return "choice";
  switch (shape.type) {
    case "boolean":
      return "switch";
    case "integer":
    case "number":
      return bounded(shape) ? "range" : "number";
    case "string":
      return "text";
    case "array":
      return ["integer", "number"].includes(shape.items?.type) ? "numbers" : null;
    default:
      return null; // Objects and lists of files have no control yet; the server's default stands.
  }
}

/** A slider over a million values is no help; such a number is typed. */
function bounded({ type, minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  return low !== undefined && high !== undefined && (type === "number" || high - low <= 5000);
}

const bump = (value, type, by) => (value === undefined ? undefined : type === "integer" ? value + by : value);

function titled(name) {
  const words = name.replaceAll("_", " ").trim();
  return words[0].toUpperCase() + words.slice(1).toLowerCase();
}

/** Whether a model works at one size only. */
export function isOneSize(model) {
  const { minimum, maximum } = model?.config_schema?.properties?.width ?? {};
  return minimum !== undefined && minimum === maximum;
}

/** The pictures' size a model likes best in one mode. */
export function preferredSize(model, mode) {
  const property = (name) => model?.mode_defaults?.[mode]?.[name] ?? model?.config_schema?.properties?.[name]?.default;
  return { width: property("width") ?? 512, height: property("height") ?? 512 };
}

/**
 * Reads a list of denoising timesteps, "700, 400": whole numbers, strictly falling, each in 1…1000.
 * Returns `{ values }` or `{ problem }`.
 */
export function readSteps(text, { minimum = 1, maximum = 1000, most = Infinity, falling = true } = {}) {
  const words = text.split(/[\s,;]+/).filter(Boolean);
  if (words.length === 0) return { problem: "Write at least one number." };
  if (words.length > most) return { problem: `Write ${most} numbers at most.` };
  const values = words.map(Number);
  if (values.some((value) => !Number.isInteger(value)))
    return { problem: "Use whole numbers with commas between them." };
  if (values.some((value) => value < minimum || value > maximum)) {
    return { problem: `Each number must lie between ${minimum} and ${maximum}.` };
  }
  if (falling && values.some((value, i) => i > 0 && value >= values[i - 1])) {
    return { problem: "Each number must be smaller than the one before it." };
  }
  return { values };
}
