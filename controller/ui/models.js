// Choosing a model and getting it ready: order of the list, fetching of its files, loading, progress.

import * as api from "./api.js";
import { ServerError } from "./api.js";

const POLL_MS = 400;
const GIVE_UP_MS = 600_000;
const FIRST = ["scope-tiny", "passthrough"];

/** All models of the schemas reply, ours first, helpers (pre- and postprocessors) last. */
export function ordered(pipelines) {
  const rank = ({ id, usage }) => {
    if (usage?.length) return FIRST.length + 1;
    const at = FIRST.indexOf(id);
    return at < 0 ? FIRST.length : at;
  };
  return Object.entries(pipelines ?? {})
    .map(([id, schema]) => ({ ...schema, id }))
    .sort((a, b) => rank(a) - rank(b));
}

/** Has the model in memory when it returns; what is known of it then. `tell({ title, text, progress })` hears of every stage. */
export async function ready(model, loadParams, { signal, tell }) {
  if (model.requires_models) await fetchFiles(model, { signal, tell });
  tell({ title: `Loading ${model.name ?? model.id}`, text: "Asking the server", progress: true });
  await api.loadPipelines([{ node_id: model.id, pipeline_id: model.id, load_params: loadParams }], signal);
  let info = null;
  await poll(signal, async () => {
    const status = await api.pipelineStatus(signal);
    info = status.model_info;
    if (status.status === "loaded") return true;
    if (status.status === "error") {
      // Sentences of the elements bring their remedy along, behind a semicolon.
      const advice = status.error?.includes("; ") ? "" : "Choose another size or model, or read the server's log.";
      throw new ServerError({
        sentence: api.asSentence(status.error) || `${model.name ?? model.id} could not be loaded.`,
        hint: api.asSentence(status.hint) || advice,
        status: 200,
      });
    }
    tell({ title: `Loading ${model.name ?? model.id}`, text: stageOf(status, model), progress: fraction(status) });
    return false;
  });
  return info ?? model.model_info;
}

/** The part of the initial parameters that says where pictures come from and go: input, model, output. */
export function routing(model, mode) {
  const edge = (from, to) => ({ from, from_port: "video", to_node: to, to_port: "video", kind: "stream" });
  const output = [
    { id: model.id, type: "pipeline", pipeline_id: model.id },
    { id: "output", type: "sink" },
  ];
  const input = { id: "input", type: "source", source_mode: "video" };
  const hasInput = mode === "video";
  return {
    input_mode: mode,
    pipeline_ids: [model.id],
    produces_video: true,
    produces_audio: false,
    graph: {
      nodes: hasInput ? [input, ...output] : output,
      edges: hasInput ? [edge("input", model.id), edge(model.id, "output")] : [edge(model.id, "output")],
    },
  };
}

/** The stage, without the model's id that the title above it says already. */
const stageOf = ({ loading_stage: stage }, { id }) => {
  const plain = (stage ?? "").replace(`${id}: `, "");
  return plain.charAt(0).toUpperCase() + plain.slice(1);
};

/** A server may say how far it is, as a fraction; most only name the stage. */
const fraction = ({ progress }) => (typeof progress === "number" ? progress : true);

async function fetchFiles(model, { signal, tell }) {
  const title = `Downloading ${model.name ?? model.id}`;
  if ((await api.modelStatus(model.id, signal)).downloaded) return;
  await api.downloadModel(model.id, signal).catch((error) => {
    // 409: somebody else started it already, so we just watch.
    if (error.status !== 409) throw error;
  });
  await poll(signal, async () => {
    const { downloaded, progress } = await api.modelStatus(model.id, signal);
    if (downloaded) return true;
    if (progress?.error) {
      throw new ServerError({
        sentence: api.asSentence(progress.error),
        hint: "Check the server's network, then try again.",
        status: 200,
      });
    }
    const percentage = progress?.percentage ?? 0;
    tell({ title, text: progress?.current_artifact ?? "", progress: percentage / 100 });
    return false;
  });
}

async function poll(signal, isDone) {
  const end = performance.now() + GIVE_UP_MS;
  while (!(await isDone())) {
    if (performance.now() > end) {
      throw new ServerError({
        sentence: "The model took longer than ten minutes.",
        hint: "Read the server's log, then try again.",
        status: 200,
      });
    }
    await pause(POLL_MS, signal);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}
