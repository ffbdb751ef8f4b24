// The source controls: which of them fit the model, what the browser allows, and what to say when it does not.

import { element } from "./element.js";
import { noteError } from "./messages.js";
import { senders, still } from "./share.js";
import { cameras, canShareScreen } from "./source.js";

const by = (id) => document.getElementById(id);
const NAMES = {
  camera: "Camera",
  screen: "Screen",
  file: "File",
  test: "Test pattern",
  share: "Shared",
  none: "None",
};

/** How often the senders are looked at while one of them is the source. */
const SENDERS_EVERY_MS = 4_000;

/** Event: `change` when another source is in use. */
export class SourcePicker extends EventTarget {
  #source;
  // Buttons, not radio buttons: passing over a radio with the arrow keys chooses it, and here that would ask for the
  // camera and then the screen on the way from the first to the last.
  #buttons = [...document.querySelectorAll("[data-source]")];
  #modes = ["video", "text"];
  #liveMode = null;
  #senders = 0;

  constructor(source) {
    super();
    this.#source = source;
    for (const button of this.#buttons) button.addEventListener("click", () => this.#choose(button.dataset.source));
    by("camera").addEventListener("change", () => this.use("camera", { deviceId: by("camera").value }));
    by("mirror").addEventListener("change", () => this.#mirror());
    by("file").addEventListener("change", () => this.#chooseFile(by("file").files[0]));
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.#listCameras());
    source.addEventListener("ended", ({ detail }) => this.#fallBack(detail));
    this.#acceptDrops(by("input-tile"));
    this.#mirror();
    this.#mark();
  }

  /** `video` or `text`, as the server calls it. */
  get mode() {
    return this.#source.kind === "none" ? "text" : "video";
  }

  setModel(model) {
    this.#modes = model?.supported_modes?.length ? model.supported_modes : ["video"];
    if (!this.#modes.includes(this.mode)) this.use(this.#modes.includes("video") ? "test" : "none");
    this.#mark();
  }

  /** While a session runs, sources may be swapped, but not between "a picture" and "no picture". */
  setLiveMode(mode) {
    this.#liveMode = mode;
    this.#mark();
  }

  /** Switches the source; a refusal is told in a sentence and the former source stays. Resolves to success. */
  async use(kind, options) {
    this.#complain(null);
    try {
      await this.#source.use(kind, options);
    } catch (error) {
      this.#complain(error);
      this.#mark();
      return false;
    }
    if (kind === "camera") await this.#listCameras();
    this.#mark();
    this.dispatchEvent(new Event("change"));
    return true;
  }

  #choose(kind) {
    if (kind === "file") by("file").click();
    else if (kind === "share") this.#chooseSender();
    else this.use(kind, { deviceId: by("camera").value || undefined });
  }

  /** What the server takes its input from: another application, or what this page sends. */
  get inputSource() {
    const { kind, title } = this.#source;
    return kind === "share"
      ? { enabled: true, source_type: "spout", source_name: title }
      : { enabled: false };
  }

  async #chooseSender() {
    this.#complain(null);
    const found = await senders().catch(() => []);
    if (found.length > 0) await this.use("share", { sender: found[0] });
    else
      this.#complain({
        message: "No application on the server's machine shares a picture.",
        hint: "Start its Spout output, or a spoutsink, and choose this again.",
      });
  }

  /** While a shared picture is the source, every sender is shown with a small picture of its own. */
  async #showSenders() {
    clearTimeout(this.#senders);
    if (this.#source.kind !== "share") return;
    const found = await senders().catch(() => []);
    const { title } = this.#source;
    const names = found.includes(title) ? found : [title, ...found];
    const buttons = by("senders");
    const had = new Map([...buttons.children].map((button) => [button.dataset.sender, button]));
    buttons.replaceChildren(...names.map((name) => had.get(name) ?? this.#senderButton(name)));
    for (const button of buttons.children) {
      const isChosen = button.dataset.sender === title;
      button.setAttribute("aria-pressed", String(isChosen));
      await paintStill(button);
    }
    this.#senders = setTimeout(() => this.#showSenders(), SENDERS_EVERY_MS);
  }

  #senderButton(name) {
    const picture = Object.assign(document.createElement("canvas"), { width: 128, height: 72 });
    picture.setAttribute("aria-hidden", "true");
    const button = element("button", { type: "button", className: "sender", data: { sender: name } }, picture, name);
    button.addEventListener("click", () => this.use("share", { sender: name }));
    return button;
  }

  async #chooseFile(file) {
    if (file) await this.use("file", { file });
    by("file-name").textContent = this.#source.kind === "file" ? this.#source.title : "";
    // Emptied, so that the same file can be chosen again after it was changed or refused.
    by("file").value = "";
  }

  #acceptDrops(tile) {
    tile.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files") || this.#liveMode === "text") return;
      event.preventDefault();
      tile.classList.add("is-target");
    });
    tile.addEventListener("dragleave", () => tile.classList.remove("is-target"));
    tile.addEventListener("drop", (event) => {
      event.preventDefault();
      tile.classList.remove("is-target");
      this.#chooseFile(event.dataTransfer.files[0]);
    });
  }

  async #fallBack(sentence) {
    await this.use("test");
    this.#complain({ message: sentence, hint: "The test pattern goes on in its place." });
  }

  async #listCameras() {
    const found = await cameras();
    by("camera").replaceChildren(...found.map(({ deviceId, label }) => element("option", { value: deviceId }, label)));
    if (this.#source.deviceId) by("camera").value = this.#source.deviceId;
  }

  #mirror() {
    this.#source.mirrored = by("mirror").checked;
  }

  #complain(error) {
    by("source-problem").textContent = error ? `${error.message} ${error.hint ?? ""}` : "";
    if (error) noteError(error.message);
  }

  #mark() {
    const { kind } = this.#source;
    for (const button of this.#buttons) {
      const itsKind = button.dataset.source;
      const obstacle = this.#obstacle(itsKind, itsKind === "none" ? "text" : "video");
      button.setAttribute("aria-pressed", String(itsKind === kind));
      button.disabled = obstacle !== "";
      button.title = obstacle;
    }
    this.#showFields(kind);
    by("source-note").textContent = kind === "none" ? "The picture comes from the prompt alone." : "";
    by("input-caption").textContent = NAMES[kind].toLowerCase();
    by("input-picture").setAttribute("aria-label", `Input picture: ${NAMES[kind].toLowerCase()}`);
    by("viewer").classList.toggle("is-text", kind === "none");
  }

  /** Why a source cannot be chosen; empty when it can. */
  #obstacle(kind, mode) {
    if (!this.#modes.includes(mode))
      return mode === "text" ? "This model needs an input picture." : "This model takes no input picture.";
    if (this.#liveMode !== null && this.#liveMode !== mode) return "Stop first: this needs a new session.";
    if (kind === "screen" && window.isSecureContext && !canShareScreen())
      return "This browser cannot share its screen.";
    return "";
  }

  #showFields(kind) {
    by("camera-field").hidden = kind !== "camera";
    by("sender-field").hidden = kind !== "share";
    this.#showSenders();
    by("mirror-field").hidden = kind !== "camera";
    by("file-name").hidden = kind !== "file";
  }
}

async function paintStill(button) {
  const picture = await still(button.dataset.sender);
  if (!picture) return;
  const canvas = button.querySelector("canvas");
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
}
