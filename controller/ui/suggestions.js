// Suggestions for prompts: reading a model's list, and putting phrases into a text and taking them out again.
// Pure: no document, no network.

/**
 * Puts a suggestion into a prompt, in the place of another one of its group: a style at the front, a quality last.
 * Choosing what is already there takes it out again.
 */
export function withSuggestion(text, entry, group, front) {
  const wasThere = saidIn(text, entry);
  let rest = text;
  for (const other of group) {
    const phrase = saidIn(rest, other);
    if (phrase) rest = without(rest, phrase);
  }
  if (wasThere) return rest;
  const parts = front ? [entry.prompts[0], rest] : [rest, entry.prompts[0]];
  return parts.filter(Boolean).join(", ");
}

/** The phrase of this suggestion that stands in the prompt between commas, the longest one first. */
export function saidIn(text, { prompts }) {
  const padded = `,${text
    .toLowerCase()
    .replace(/\s*,\s*/g, ",")
    .trim()},`;
  return [...prompts]
    .sort((a, b) => b.length - a.length)
    .find((phrase) => padded.includes(`,${phrase.toLowerCase().replace(/\s*,\s*/g, ",")},`));
}

function without(text, phrase) {
  const words = text.split(",").map((part) => part.trim());
  const gone = phrase.split(",").map((part) => part.trim().toLowerCase());
  const at = words.findIndex((_, i) => gone.every((part, j) => words[i + j]?.toLowerCase() === part));
  if (at >= 0) words.splice(at, gone.length);
  return words.filter(Boolean).join(", ");
}

/** The schema's suggestions in one form: every entry `{id, label, prompts}`; colours and lights may be plain words. */
export function suggestionsOf(given) {
  if (!given) return null;
  const entries = (list) =>
    (Array.isArray(list) ? list : [])
      .map((entry) => {
        if (typeof entry === "string") return { id: slug(entry), label: entry, prompts: [entry] };
        const prompts = [entry.prompts ?? entry.prompt ?? entry.label].flat().filter(Boolean);
        return {
          id: entry.id ?? slug(entry.label ?? prompts[0]),
          label: entry.label ?? prompts[0],
          hint: entry.hint,
          prompts,
        };
      })
      .filter(({ prompts }) => prompts.length > 0);
  const groups = {
    styles: entries(given.styles),
    colours: entries(given.colours ?? given.colors),
    lights: entries(given.lights),
  };
  return Object.values(groups).some((list) => list.length > 0) ? groups : null;
}

const slug = (text) =>
  String(text)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-");
