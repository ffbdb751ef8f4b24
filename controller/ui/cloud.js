// The cloud switch: an app on fal.ai in place of the local processor, while the stream runs or before.
//
// The key is kept in this browser only if the person ticks it, and whether the cloud is on is never kept: a page that
// is opened again must not spend money by itself.

import * as api from "./api.js";
import { spoken } from "./element.js";
import { explain, noteError } from "./messages.js";

const KEPT = "gst-scope.cloud";
const LOOK_MS = 1_000;
const STAGES = {
  token: "Asking for a token",
  socket: "Opening the connection",
  "starting-runner": "Waiting for the app to start; a cold start can take two minutes",
  negotiating: "Agreeing on a way for the pictures",
  live: "Live",
  reconnecting: "Reconnecting",
  failed: "Stopped",
  idle: "Resting until a picture comes",
};

const by = (id) => document.getElementById(id);

/** Event: `change` (detail: the server's status) whenever the server says something new. */
export class CloudSwitch extends EventTarget {
  #timer = 0;
  #status = {};
  #busy = false;

  constructor() {
    super();
    by("cloud-on").addEventListener("change", () => (by("cloud-on").checked ? this.#connect() : this.#disconnect()));
    by("cloud-keep").addEventListener("change", () => this.#keep());
    this.#recall();
  }

  /** Asks the server once: another page, or its own configuration, may have connected it. */
  async begin() {
    await this.#look();
  }

  get #wish() {
    const text = (id) => by(id).value.trim() || undefined;
    return { app_id: text("cloud-app"), api_key: text("cloud-key") };
  }

  async #connect() {
    this.#complain("");
    if (by("cloud-keep").checked) this.#keep();
    await this.#ask(() => api.connectCloud(this.#wish));
  }

  async #disconnect() {
    this.#complain("");
    await this.#ask(() => api.disconnectCloud());
  }

  async #ask(call) {
    this.#busy = true;
    this.#mark();
    try {
      this.#take(await call());
    } catch (error) {
      const { sentence, hint } = explain(error);
      this.#complain([sentence, hint].filter(Boolean).join(" "));
      await this.#look();
    } finally {
      this.#busy = false;
      this.#mark();
    }
  }

  async #look() {
    clearTimeout(this.#timer);
    const status = await api.cloudStatus().catch(() => null);
    if (status) this.#take(status);
  }

  #take(status) {
    this.#status = status;
    this.#mark();
    this.dispatchEvent(new CustomEvent("change", { detail: status }));
    clearTimeout(this.#timer);
    if (status.app_id) this.#timer = setTimeout(() => this.#look(), LOOK_MS);
  }

  #mark() {
    const { app_id: app, stage, stage_seconds: seconds, error, credentials_configured: configured } = this.#status;
    const on = Boolean(app);
    by("cloud-on").checked = on || this.#busy;
    by("cloud-on").disabled = this.#busy;
    for (const id of ["cloud-app", "cloud-key"]) by(id).disabled = on || this.#busy;
    const placeholder = configured ? "set on the server" : "";
    by("cloud-app").placeholder = placeholder || "owner/app";
    by("cloud-key").placeholder = placeholder || "key id:secret";
    by("cloud-stage").dataset.stage = on ? (stage ?? "") : "";
    by("cloud-stage").textContent = on ? sentence(stage, seconds, this.#status) : "";
    if (on && error && stage !== "live") this.#complain(api.asSentence(error));
    else if (on) this.#complain("");
  }

  #complain(text) {
    if (by("cloud-problem").textContent === text.replaceAll("`", "")) return;
    by("cloud-problem").replaceChildren(...spoken(text));
    if (text) noteError(text);
  }

  #keep() {
    if (by("cloud-keep").checked) localStorage.setItem(KEPT, JSON.stringify(this.#wish));
    else localStorage.removeItem(KEPT);
  }

  #recall() {
    let kept = null;
    try {
      kept = JSON.parse(localStorage.getItem(KEPT));
    } catch {
      localStorage.removeItem(KEPT);
    }
    if (!kept) return;
    by("cloud-keep").checked = true;
    by("cloud-app").value = kept.app_id ?? "";
    by("cloud-key").value = kept.api_key ?? "";
  }
}

function sentence(stage, seconds, { round_trip_ms: trip, reconnects }) {
  const words = [STAGES[stage] ?? "Starting"];
  if (Number.isFinite(seconds)) words.push(elapsed(seconds));
  if (stage === "live" && Number.isFinite(trip)) words.push(`${Math.round(trip)} ms there and back`);
  if (reconnects > 0) words.push(reconnects === 1 ? "reconnected once" : `reconnected ${reconnects} times`);
  return words.join(" · ");
}

function elapsed(seconds) {
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}
