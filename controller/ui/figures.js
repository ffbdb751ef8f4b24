// The live figures: what arrives, what is lost, how long the way is. Three witnesses: the browser's own statistics, the
// server's metrics, and (when asked for) a time stamp painted into the picture.

import * as api from "./api.js";
import { readStamp, stampScratch } from "./stamp.js";

const EVERY_MS = 1000;
const TRACE_POINTS = 60;
/** So many seconds without an answer and without a picture, and the server counts as gone. */
const SILENT_ROUNDS = 3;

/**
 * Events: `metrics` (detail: the session's own, and its id), once a second; `silence`, when neither the server nor its
 * pictures are heard of any more.
 */
export class Figures extends EventTarget {
  #shown = {};
  #video;
  #source;
  #session = null;
  #timer = 0;
  #watching = 0;
  #before = null;
  #presented = 0;
  #stamped = [];
  #unread = 0;
  #scratch = stampScratch();
  #traces;
  #metrics = {};
  #silentRounds = 0;

  constructor(root, video, source) {
    super();
    for (const value of root.querySelectorAll("[data-figure]")) this.#shown[value.dataset.figure] = value;
    this.#traces = Object.fromEntries(
      [...root.querySelectorAll("canvas[data-trace]")].map((canvas) => [canvas.dataset.trace, new Trace(canvas)]),
    );
    this.#video = video;
    this.#source = source;
  }

  start(session) {
    this.stop();
    this.#session = session;
    this.#before = null;
    this.#timer = setInterval(() => this.#measure(), EVERY_MS);
    if (this.#video.requestVideoFrameCallback) {
      this.#watching = this.#video.requestVideoFrameCallback((now, frame) => this.#onFrame(frame));
    }
  }

  stop() {
    clearInterval(this.#timer);
    if (this.#watching) this.#video.cancelVideoFrameCallback(this.#watching);
    this.#watching = 0;
    this.#session = null;
    this.#metrics = {};
    this.#silentRounds = 0;
    this.#stamped = [];
    for (const value of Object.values(this.#shown)) value.textContent = value.dataset.empty ?? "–";
    for (const trace of Object.values(this.#traces)) trace.clear();
  }

  #onFrame(frame) {
    this.#presented = frame.presentedFrames;
    if (this.#source.stamped) {
      const delay = readStamp(this.#scratch, this.#video, performance.now());
      if (delay === null) this.#unread += 1;
      else this.#stamped.push(delay);
    }
    this.#watching = this.#video.requestVideoFrameCallback((now, next) => this.#onFrame(next));
  }

  async #measure() {
    const session = this.#session;
    const [stats, server] = await Promise.all([
      readStats(session.peer),
      api.metrics(AbortSignal.timeout(EVERY_MS)).catch(nothingOrSlow),
    ]);
    // The session may have ended while we asked.
    if (session !== this.#session) return;
    this.#metrics = ownMetrics(server, session.id);
    const heard = { metrics: this.#metrics, id: session.id };
    if (server) this.dispatchEvent(new CustomEvent("metrics", { detail: heard }));
    const now = { ...stats, at: performance.now(), presented: this.#presented };
    const isSilent = !server && this.#before && now.framesDecoded === this.#before.framesDecoded;
    this.#silentRounds = isSilent ? this.#silentRounds + 1 : 0;
    if (this.#before) this.#show(now, this.#before);
    this.#before = now;
    // The connection itself needs ten seconds and more to notice that the other end has died.
    if (this.#silentRounds >= SILENT_ROUNDS) this.dispatchEvent(new Event("silence"));
  }

  #show(now, before) {
    const seconds = (now.at - before.at) / 1000;
    const rate = (key) => Math.max(0, (now[key] - before[key]) / seconds);
    const shownRate = this.#presented ? rate("presented") : rate("framesDecoded");
    this.#write("fps-out", shownRate.toFixed(1));
    this.#write("fps-in", this.#source.kind === "none" ? "–" : rate("framesSent").toFixed(1));
    this.#write("fps-model", this.#metrics.pipeline_fps?.toFixed(1) ?? "–");
    this.#write("bitrate", `${bits(rate("bytesReceived") * 8)}`);
    const dropped = now.framesDropped + droppedByServer(this.#metrics);
    this.#write("dropped", String(dropped));
    const latency = this.#latency(now, before);
    this.#write("latency", latency.value === null ? "–" : `${Math.round(latency.value)}`);
    this.#write("latency-how", latency.how);
    this.#traces.fps?.push(shownRate);
    if (latency.value !== null) this.#traces.latency?.push(latency.value);
  }

  /** The measured way if there is one; otherwise the sum of the parts that are known. */
  #latency(now, before) {
    if (this.#source.stamped) {
      const delays = this.#stamped.splice(0).sort((a, b) => a - b);
      const unread = this.#unread;
      this.#unread = 0;
      if (delays.length > unread) return { value: delays[Math.floor(delays.length / 2)], how: "measured" };
    }
    if (now.roundTrip === null) return { value: null, how: "" };
    const emitted = now.jitterEmitted - before.jitterEmitted;
    const jitter = emitted > 0 ? ((now.jitterDelay - before.jitterDelay) / emitted) * 1000 : 0;
    const server = this.#metrics.latency_ms;
    return {
      value: now.roundTrip + jitter + (server ?? 0),
      how: this.#source.stamped ? "code unreadable" : server == null ? "network" : "network, model",
    };
  }

  #write(name, text) {
    if (this.#shown[name]) this.#shown[name].textContent = text;
  }
}

/** Null when nobody is there; a server that is merely slow to answer has no figures for this round. */
const nothingOrSlow = (error) => (error.unreachable ? null : {});

/** The few numbers we need out of the browser's report. */
async function readStats(peer) {
  const found = {
    framesDecoded: 0,
    framesDropped: 0,
    framesSent: 0,
    bytesReceived: 0,
    jitterDelay: 0,
    jitterEmitted: 0,
    roundTrip: null,
  };
  const report = await peer.getStats().catch(() => []);
  report.forEach((entry) => {
    if (entry.type === "inbound-rtp" && entry.kind === "video") {
      found.framesDecoded += entry.framesDecoded ?? 0;
      found.framesDropped += entry.framesDropped ?? 0;
      found.bytesReceived += entry.bytesReceived ?? 0;
      found.jitterDelay += entry.jitterBufferDelay ?? 0;
      found.jitterEmitted += entry.jitterBufferEmittedCount ?? 0;
    } else if (entry.type === "outbound-rtp" && entry.kind === "video") {
      found.framesSent += entry.framesSent ?? 0;
    } else if (entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded") {
      found.roundTrip = (entry.currentRoundTripTime ?? 0) * 1000;
    }
  });
  return found;
}

function ownMetrics(reply, id) {
  const sessions = reply?.sessions ?? {};
  return sessions[id] ?? Object.values(sessions)[0] ?? {};
}

/** In front of the model and inside it; each leaves out what it cannot do in time. */
function droppedByServer({ frames_dropped: waiting = 0, processors = {} }) {
  return Object.values(processors).reduce((sum, stats) => sum + (stats?.["frames-dropped"] ?? 0), waiting);
}

function bits(perSecond) {
  return perSecond >= 1e6 ? `${(perSecond / 1e6).toFixed(1)} Mb/s` : `${Math.round(perSecond / 1e3)} kb/s`;
}

/** A minute of one figure, drawn like a scope's trace. */
class Trace {
  #canvas;
  #points = [];

  constructor(canvas) {
    this.#canvas = canvas;
  }

  clear() {
    this.#points = [];
    this.#draw();
  }

  push(value) {
    this.#points.push(value);
    if (this.#points.length > TRACE_POINTS) this.#points.shift();
    this.#draw();
  }

  #draw() {
    const ratio = devicePixelRatio || 1;
    const width = Math.round(this.#canvas.clientWidth * ratio);
    const height = Math.round(this.#canvas.clientHeight * ratio);
    if (this.#canvas.width !== width || this.#canvas.height !== height) Object.assign(this.#canvas, { width, height });
    const context = this.#canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    if (this.#points.length < 2) return;
    const top = Math.max(...this.#points) * 1.25 || 1;
    context.strokeStyle = getComputedStyle(this.#canvas).color;
    context.lineWidth = 1.5 * ratio;
    context.lineJoin = "round";
    context.beginPath();
    this.#points.forEach((value, i) => {
      const x = width * (1 - (this.#points.length - 1 - i) / (TRACE_POINTS - 1));
      context.lineTo(x, height - ratio - (value / top) * (height - 2 * ratio));
    });
    context.stroke();
  }
}
