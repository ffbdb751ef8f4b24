// The recording of a session: made by the server, from what it shows, whatever happens to this page's connection.
//
// One button that begins and ends, the time it lasts, and a link to the file once it is complete.

import * as api from "./api.js";
import { announce, sayError } from "./messages.js";

const TICK_MS = 250;
/** The server completes the file of a session that has ended; until then it has none to give. */
const COMPLETE_WITHIN_MS = 5_000;
const ASK_AGAIN_MS = 400;
/** After a change of ours the server's figures may still tell of the time before. */
const SETTLED_MS = 2_500;

const by = (id) => document.getElementById(id);

export class Recording {
  #button = by("record");
  #time = by("record-time");
  #link = by("record-link");
  #session = null;
  #since = 0;
  #changed = 0;
  #timer = 0;
  #busy = false;
  #blob = "";

  constructor() {
    this.#button.addEventListener("click", () => this.toggle());
  }

  get isOn() {
    return this.#timer !== 0;
  }

  /** There is a session to record, or (`null`) there is none any more: then the server completes what it has. */
  setSession(id) {
    const ended = this.#session;
    this.#session = id;
    this.#button.disabled = id === null;
    if (id === null && this.isOn) {
      this.#mark(false);
      this.#offer(ended);
    }
  }

  async toggle() {
    const session = this.#session;
    if (session === null || this.#busy) return;
    this.#busy = true;
    try {
      if (this.isOn) {
        await api.stopRecording(session);
        this.#mark(false);
        await this.#offer(session);
      } else {
        await api.startRecording(session);
        // The session may have ended while we asked; its recording ends with it.
        if (session === this.#session) this.#mark(true);
        announce("Recording.");
      }
    } catch (error) {
      const wasOn = this.isOn;
      this.#mark(false);
      sayError(error);
      // What was recorded before the trouble is there all the same.
      if (wasOn && error.status >= 500) await this.#offer(session);
    } finally {
      this.#busy = false;
    }
  }

  /** What the server's figures say: someone else may have begun or ended it, or the disk is full. */
  reflect(recordings, session) {
    if (!recordings || session !== this.#session || this.#busy) return;
    if (performance.now() - this.#changed < SETTLED_MS) return;
    const [running] = recordings;
    if (running && !this.isOn) {
      this.#mark(true);
      this.#since -= running.seconds * 1000;
    } else if (!running && this.isOn) {
      this.#mark(false);
      this.#offer(session);
    }
  }

  #mark(on) {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#changed = performance.now();
    this.#button.setAttribute("aria-pressed", String(on));
    this.#button.title = on ? "Stop recording (R)" : "Record (R)";
    this.#time.hidden = !on;
    if (!on) return;
    this.#forget();
    this.#since = performance.now();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#tick();
  }

  #tick() {
    const seconds = Math.floor((performance.now() - this.#since) / 1000);
    this.#time.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  /** Shows the link. Where a plain address cannot reach the file, the page fetches it first. */
  async #offer(session) {
    const lasted = this.#time.textContent;
    try {
      const { address, name } = await patiently(() => api.recordingLink(session));
      if (this.isOn) return;
      if (address.startsWith("blob:")) this.#blob = address;
      this.#link.href = address;
      this.#link.download = name;
      this.#link.textContent = `Save recording (${lasted})`;
      this.#link.hidden = false;
      announce("The recording is ready to be saved.");
    } catch (error) {
      sayError(error);
    }
  }

  #forget() {
    this.#link.hidden = true;
    this.#link.removeAttribute("href");
    if (this.#blob) URL.revokeObjectURL(this.#blob);
    this.#blob = "";
  }
}

async function patiently(act) {
  const end = performance.now() + COMPLETE_WITHIN_MS;
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (error.status !== 404 || performance.now() > end) throw error;
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
    }
  }
}
