// What a model is, where it runs and what it can do: one quiet line, and the rest for whoever opens it.
//
// Said is only what the server knows; where a model runs, for one, shows when it is loaded.

import { asSentence } from "./api.js";
import { element, spoken } from "./element.js";

const by = (id) => document.getElementById(id);
const PROVIDERS = { cpu: "CPU", cuda: "NVIDIA GPU, by CUDA", tensorrt: "NVIDIA GPU, by TensorRT" };
const SHORT = { cpu: "on the CPU", cuda: "on the GPU", tensorrt: "on the GPU" };
const PREDICTIONS = { epsilon: "the noise", v_prediction: "velocity", sample: "the clean picture" };

/** Shows what is known of a model; nothing at all for one that changes no pictures. */
export function showAbout(model) {
  const info = model?.model_info;
  by("about").hidden = !info;
  if (!info) return;
  by("about-line").textContent = lineOf(info);
  by("about-facts").replaceChildren(
    ...rowsOf(info, model).map(([term, said]) =>
      element("div", {}, element("dt", {}, term), element("dd", {}, ...spoken(said))),
    ),
  );
  const reason = info.provider_fallback;
  by("about-fallback").replaceChildren(
    ...(reason ? spoken(asSentence(`It runs on the CPU because no GPU could be used: ${reason}`)) : []),
  );
}

/** Folders that hold no model we can run, each with its reason. */
export function showUnusable(folders = []) {
  by("unusable").hidden = folders.length === 0;
  by("unusable-line").textContent =
    folders.length === 1 ? "One folder cannot be used" : `${folders.length} folders cannot be used`;
  by("unusable-list").replaceChildren(
    ...folders.map(({ name, reason }) =>
      element("li", {}, element("strong", {}, name), " ", ...spoken(asSentence(reason))),
    ),
  );
}

/** The line: kind, length, and where it runs. */
function lineOf({ family, size_mb: size, provider }) {
  return [kindOf(family), lengthOf(size), SHORT[provider]].filter(Boolean).join(" · ") || "About this model";
}

function rowsOf(info, { supports_lora: lora }) {
  const has = (value) => value !== null && value !== undefined;
  const rows = [
    ["Kind", [kindOf(info.family), distilled(info)].filter(Boolean).join(", ")],
    ["Runs on", PROVIDERS[info.provider] ?? "told once it is loaded"],
    ["On disk", lengthOf(info.size_mb)],
    ["Picture sizes", sizesOf(info)],
    ["Steps", has(info.video_steps) && `${list(info.video_steps)} for video, ${list(info.text_steps)} for text`],
    [
      "Several steps",
      has(info.stream_batch) && (info.stream_batch ? "done together, in one call" : "done one after another"),
    ],
    [
      "Autoencoder",
      has(info.tiny_autoencoder) && (info.tiny_autoencoder ? "small, made for live pictures" : "full"),
    ],
    ["Text encoders", has(info.text_encoders) && String(info.text_encoders)],
    ["Predicts", PREDICTIONS[info.prediction_type]],
    [
      "Reference pictures",
      has(info.reference_images) && (info.reference_images ? "steer the result" : "none; their colours only"),
    ],
    ["LoRA", lora && (info.lora_inputs?.length ? `${list(info.lora_inputs)}: part of it` : "merged when it loads")],
  ];
  return rows.filter(([, said]) => said);
}

const kindOf = (family) => (family === "custom" ? "A model of its own kind" : family);

function distilled({ turbo, guidance_embedded: guided }) {
  if (guided) return "distilled, guidance built in";
  return turbo ? "distilled to one step" : "";
}

/** MiB in, words out. */
function lengthOf(size) {
  if (!size) return "";
  return size >= 1000 ? `${(size / 1024).toFixed(1)} GB` : `${size < 10 ? size : Math.round(size)} MB`;
}

function sizesOf({ width, height, size_multiple: multiple, max_dimension: most }) {
  if (width && height) return `${width} × ${height} only`;
  return multiple ? `multiples of ${multiple} up to ${most}` : "";
}

const list = (values) => values.join(", ");
