// Pictures beside the input: reference pictures, which steer a model that takes them, and a picture that lends its
// colours to any model's result. Chosen, dropped or pasted, they go to the server's assets and are named from there.
//
// Decision: what is sent is drawn anew, at most 1024 pixels long. A photo is twenty times that, no model looks at more,
// and turned or exotic pictures arrive as what the eye sees.

import * as api from "./api.js";
import { element, icon } from "./element.js";
import { announce, noteError } from "./messages.js";
import { Patches } from "./patches.js";

/** As many as the server takes. */
const MOST_REFERENCES = 8;
const LARGEST_FILE = 64 * 1024 * 1024;
const LONGEST_SIDE = 1024;
const QUALITY = 0.92;
/** Where they lie among the assets. */
const FOLDER = "page";
const COLOURS_TO_BEGIN_WITH = 0.7;

const by = (id) => document.getElementById(id);

/** Event: `change` (detail: the patch to send). */
export class Pictures extends EventTarget {
  #references = new Shelf("references", MOST_REFERENCES);
  #colours = new Shelf("colours", 1);
  #patches = new Patches((detail) => this.dispatchEvent(new CustomEvent("change", { detail })));
  #takes = { references: false, colours: false };
  #away = false;

  constructor() {
    super();
    this.#watch(this.#references, () => this.#patches.tell(this.#referencePatch()));
    this.#watch(this.#colours, () => {
      if (this.#colours.names.length > 0 && Number(by("colours-amount").value) === 0)
        show(by("colours-amount"), COLOURS_TO_BEGIN_WITH);
      this.#patches.tell(this.#colourPatch());
    });
    by("references-scale").addEventListener("input", () => {
      show(by("references-scale"), by("references-scale").value);
      this.#patches.tell({ vace_context_scale: by("references-scale").valueAsNumber });
    });
    by("colours-amount").addEventListener("input", () => {
      show(by("colours-amount"), by("colours-amount").value);
      this.#patches.tell({ colour_transfer: by("colours-amount").valueAsNumber });
    });
    document.addEventListener("paste", (event) => this.#paste(event));
    show(by("references-scale"), 1);
    show(by("colours-amount"), 0);
  }

  /** Shows what this model can make use of; chosen pictures stay for the next one that can. */
  setModel(model) {
    const properties = model?.config_schema?.properties ?? {};
    this.#takes = { references: model?.supports_vace === true, colours: "colour_transfer" in properties };
    this.#mark();
  }

  /** While an app in the cloud makes the pictures, it has no way to ours. */
  setAway(away) {
    this.#away = away;
    this.#mark();
  }

  /** What the server has to know when a session starts. */
  initial() {
    const { references, colours } = this.#takes;
    return {
      ...(references && this.#references.names.length > 0 ? this.#referencePatch() : {}),
      ...(colours && this.#colours.names.length > 0 ? this.#colourPatch() : {}),
    };
  }

  /** Shows values that came from elsewhere; nothing is sent back. */
  reflect({ vace_context_scale: scale, colour_transfer: amount, colour_reference: colours, vace_ref_images: references }) {
    if (typeof scale === "number") show(by("references-scale"), scale);
    if (typeof amount === "number") show(by("colours-amount"), amount);
    if (typeof colours === "string") this.#colours.set(colours ? [colours] : []);
    if (Array.isArray(references)) this.#references.set(references);
    this.#mark();
  }

  #referencePatch() {
    return { vace_ref_images: this.#references.names, vace_context_scale: by("references-scale").valueAsNumber };
  }

  #colourPatch() {
    return {
      colour_reference: this.#colours.names[0] ?? "",
      colour_transfer: this.#colours.names.length > 0 ? by("colours-amount").valueAsNumber : 0,
    };
  }

  #watch(shelf, act) {
    shelf.addEventListener("change", () => {
      act();
      this.#mark();
    });
  }

  /** A picture in the clipboard goes where it does most: to the references, else to the colours. */
  #paste(event) {
    const files = [...(event.clipboardData?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
    const { references, colours } = this.#takes;
    if (files.length === 0 || this.#away || !(references || colours)) return;
    event.preventDefault();
    (references ? this.#references : this.#colours).add(files);
  }

  #mark() {
    const { references, colours } = this.#takes;
    by("pictures-section").hidden = !references && !colours;
    by("references").hidden = !references;
    by("colours").hidden = !colours;
    by("pictures-away").textContent = this.#away
      ? "The app in the cloud has no way to pictures of this page. They count again when this machine makes the picture."
      : "";
    this.#references.setAble(!this.#away);
    this.#colours.setAble(!this.#away);
    by("references-scale").disabled = this.#away || this.#references.names.length === 0;
    by("colours-amount").disabled = this.#away || this.#colours.names.length === 0;
  }
}

/** A row of thumbnails with a way to add to it. Event: `change` when its names have changed. */
class Shelf extends EventTarget {
  #root;
  #most;
  #items = [];
  #able = true;
  #coming = 0;

  constructor(id, most) {
    super();
    this.#root = by(id);
    this.#most = most;
    const file = this.#part("file");
    this.#part("add").addEventListener("click", () => file.click());
    file.addEventListener("change", () => {
      this.add([...file.files]);
      // Emptied, so that the same file can be chosen again.
      file.value = "";
    });
    this.#acceptDrops();
    this.#draw();
  }

  /** What the server calls them. */
  get names() {
    return this.#items.map(({ name }) => name);
  }

  setAble(able) {
    this.#able = able;
    this.#draw();
  }

  /** Takes what there is room for, one after another, and says what it did not take. */
  async add(files) {
    if (!this.#able || files.length === 0) return;
    this.#complain("");
    // The only place is the newest picture's.
    const room = this.#most === 1 ? 1 : this.#most - this.#items.length - this.#coming;
    const taken = files.slice(0, Math.max(room, 0));
    const complaints = [];
    if (taken.length < files.length)
      complaints.push(
        this.#most === 1
          ? "One picture is enough here; the first one was taken."
          : `${this.#most} pictures are the most; remove one to add another.`,
      );
    this.#coming += taken.length;
    this.#draw();
    let came = 0;
    for (const file of taken) {
      try {
        const item = await sent(file);
        if (this.#most === 1) this.#clear();
        this.#items.push(item);
        came += 1;
      } catch (error) {
        complaints.push([error.message, error.hint].filter(Boolean).join(" "));
      } finally {
        this.#coming -= 1;
      }
    }
    this.#draw();
    if (complaints.length > 0) this.#complain(complaints.join(" "));
    if (came === 0) return;
    announce(came === 1 ? "Picture added." : `${came} pictures added.`);
    this.#tell();
  }

  /** Shows these instead, without telling anyone. */
  set(names) {
    if (JSON.stringify(names) === JSON.stringify(this.names)) return;
    const had = new Map(this.#items.map((item) => [item.name, item]));
    this.#items = names.map((name) => had.get(name) ?? { name, title: titleOf(name), address: "" });
    for (const item of this.#items) if (!item.address) this.#fetch(item);
    this.#draw();
  }

  async #fetch(item) {
    const blob = await api.asset(item.name).catch(() => null);
    if (blob) item.address = URL.createObjectURL(blob);
    this.#draw();
  }

  #remove(item) {
    const at = this.#items.indexOf(item);
    this.#items.splice(at, 1);
    URL.revokeObjectURL(item.address);
    this.#complain("");
    this.#draw();
    announce("Picture removed.");
    // The focus goes to the next one's button, or to the one that adds.
    (this.#part("list").children[at]?.querySelector("button") ?? this.#part("add")).focus();
    this.#tell();
  }

  #clear() {
    for (const { address } of this.#items.splice(0)) URL.revokeObjectURL(address);
  }

  #draw() {
    const full = this.#most > 1 && this.#items.length + this.#coming >= this.#most;
    this.#part("add").disabled = !this.#able || full || this.#coming > 0;
    this.#part("add-words").textContent =
      this.#coming > 0 ? "Sending…" : this.#most === 1 && this.#items.length > 0 ? "Change" : "Add";
    this.#part("list").replaceChildren(...this.#items.map((item) => this.#thumbnail(item)));
  }

  #thumbnail(item) {
    const picture = element("img", { src: item.address || undefined, alt: item.title, title: item.title });
    const remove = element(
      "button",
      { type: "button", className: "icon-button", label: `Remove ${item.title}`, data: { testid: "picture-remove" } },
      icon("close"),
    );
    remove.disabled = !this.#able;
    remove.addEventListener("click", () => this.#remove(item));
    return element("li", { className: "thumbnail" }, picture, remove);
  }

  #acceptDrops() {
    this.#root.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files") || !this.#able) return;
      event.preventDefault();
      this.#root.classList.add("is-target");
    });
    this.#root.addEventListener("dragleave", ({ relatedTarget }) => {
      if (!this.#root.contains(relatedTarget)) this.#root.classList.remove("is-target");
    });
    this.#root.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#root.classList.remove("is-target");
      this.add([...event.dataTransfer.files]);
    });
  }

  #part(name) {
    return by(`${this.#root.id}-${name}`);
  }

  #complain(text) {
    this.#part("problem").textContent = text;
    if (text) noteError(text);
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }
}

/** Why a picture was not taken, with what to do instead. */
class PictureError extends Error {
  constructor(sentence, hint) {
    super(sentence);
    this.hint = hint;
  }
}

/** Sends one picture: `{ name, title, address }`, the address being that of a copy in this page. */
async function sent(file) {
  const title = file.name || "Pasted picture";
  if (file.size > LARGEST_FILE)
    throw new PictureError(`${title} is larger than ${LARGEST_FILE >> 20} MB.`, "Choose a smaller picture.");
  const blob = await drawn(file).catch(() => {
    throw new PictureError(`${title} is no picture that this browser can show.`, "Choose a PNG, JPEG or WebP file.");
  });
  const name = `${FOLDER}/${await nameFor(title, blob)}`;
  await api.upload(name, blob);
  return { name, title, address: URL.createObjectURL(blob) };
}

async function drawn(file) {
  const picture = await createImageBitmap(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(picture.width, picture.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d", { alpha: false });
  // What can be seen through becomes white, as on paper.
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  picture.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  if (!blob) throw new Error("empty");
  return blob;
}

/** The same picture gets the same name, so choosing it again takes no more room on the server. */
async function nameFor(title, blob) {
  const slug = title
    .replace(/\.[^.]*$/, "")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 40);
  // FNV-1a: pages that came over plain HTTP have no crypto.subtle, and nobody attacks himself.
  let hash = 0x811c9dc5;
  for (const byte of new Uint8Array(await blob.arrayBuffer())) hash = Math.imul(hash ^ byte, 0x01000193);
  return `${slug || "picture"}-${(hash >>> 0).toString(16).padStart(8, "0")}.jpg`;
}

const titleOf = (name) => name.split("/").at(-1);

function show(slider, value) {
  slider.value = value;
  const share = (Number(value) - Number(slider.min)) / (Number(slider.max) - Number(slider.min));
  slider.style.setProperty("--fill", share);
  const words = `${Math.round(Number(value) * 100)} %`;
  slider.setAttribute("aria-valuetext", words);
  by(`${slider.id}-value`).value = words;
}
