// Pictures of other applications on this machine: theirs as our input, ours under a name of its own.

import * as api from "./api.js";

const FIRST_PICTURE_MS = 5_000;
const STILL_MS = 2_000;
const RATE = 15;

const by = (id) => document.getElementById(id);

/** The names of those who share a picture right now. */
export async function senders() {
  const { sources } = await api.senders();
  return sources.map(({ identifier }) => identifier);
}

/** One small picture of a sender, or null when it shows none for now. */
export async function still(sender) {
  const ending = new AbortController();
  const late = setTimeout(() => ending.abort(), STILL_MS);
  try {
    const first = await read(await api.senderStream(sender, RATE, ending.signal)).next();
    return first.value ?? null;
  } catch {
    return null;
  } finally {
    clearTimeout(late);
    ending.abort();
  }
}

/**
 * Follows one sender's picture: resolves with the first one, then replaces `opened.still` for as long as it comes.
 * `opened.ending` stops it.
 */
export async function follow(sender) {
  const ending = new AbortController();
  const opened = { title: sender, ending };
  const pictures = read(await api.senderStream(sender, RATE, ending.signal));
  const late = setTimeout(() => ending.abort(), FIRST_PICTURE_MS);
  const first = await pictures.next().catch(() => ({ done: true }));
  clearTimeout(late);
  if (first.done) throw new Error(`${sender} shares no picture right now.`);
  opened.still = first.value;
  keepUp(opened, pictures);
  return opened;
}

async function keepUp(opened, pictures) {
  try {
    for await (const picture of pictures) {
      opened.still.close();
      opened.still = picture;
    }
  } catch {
    // Stopped by us, or the sender has gone: the last picture stands until another source is chosen.
  }
}

/** The JPEGs of a multipart answer, decoded. */
async function* read(response) {
  const reader = response.body.getReader();
  let held = new Uint8Array(0);
  for (;;) {
    const part = split(held);
    if (part) {
      held = part.rest;
      yield await createImageBitmap(new Blob([part.jpeg], { type: "image/jpeg" }));
      continue;
    }
    const { value, done } = await reader.read();
    if (done) return;
    const joined = new Uint8Array(held.length + value.length);
    joined.set(held);
    joined.set(value, held.length);
    held = joined;
  }
}

/** The first whole part of what has come, or null. */
function split(bytes) {
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 256));
  const size = /content-length: (\d+)\r\n/i.exec(head);
  const start = head.indexOf("\r\n\r\n") + 4;
  if (!size || start < 4) return null;
  const end = start + Number(size[1]);
  return bytes.length < end ? null : { jpeg: bytes.slice(start, end), rest: bytes.slice(end + 2) };
}

/** The switch that shares our picture. Event: `change` (detail: patch). */
export class ShareSwitch extends EventTarget {
  constructor() {
    super();
    for (const id of ["share-on", "share-name"])
      by(id).addEventListener("change", () => {
        if (id === "share-on" || by("share-on").checked)
          this.dispatchEvent(new CustomEvent("change", { detail: this.patch() }));
      });
  }

  /** Shown only where the server can share. */
  setAble(able) {
    by("share-section").hidden = !able;
    by("source-share").hidden = !able;
  }

  initial() {
    return by("share-on").checked ? this.patch() : {};
  }

  patch() {
    const spout = { enabled: by("share-on").checked, name: by("share-name").value.trim() || "ScopeOut" };
    return { output_sinks: { spout } };
  }

  /** Another page or program changed it. */
  reflect({ output_sinks: sinks }) {
    if (!sinks?.spout) return;
    by("share-on").checked = sinks.spout.enabled === true;
    if (sinks.spout.name) by("share-name").value = sinks.spout.name;
  }
}
