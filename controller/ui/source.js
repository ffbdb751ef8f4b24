// Where the input comes from. Every source is drawn, cropped and scaled, on one canvas, and the canvas is what is sent:
// the server always gets the size it loaded the model for, and sources can be swapped without a new negotiation.
//
// Known limit: browsers slow the canvas of a hidden tab down, so the picture stands still while the page is covered.

import { paintPattern } from "./pattern.js";
import { follow } from "./share.js";
import { paintStamp } from "./stamp.js";

/** Why a source cannot be used, with what to do instead. */
export class SourceError extends Error {
  constructor(sentence, hint) {
    super(sentence);
    this.name = "SourceError";
    this.hint = hint;
  }
}

/** Event: `ended` (detail: sentence) when a camera, screen or file stops by itself. */
export class Source extends EventTarget {
  kind = "test";
  mirrored = false;
  stamped = false;
  /** With this set the test pattern rests, for people who asked for less motion and have not pressed Start. */
  resting = false;
  #canvas;
  #context;
  /** What `open` gave: `{ video, stream, still, address, title }`, each only where the kind has one. */
  #opened = {};
  #rate = 30;
  #due = 0;
  #attempt = 0;
  #output = null;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    requestAnimationFrame((now) => this.#tick(now));
  }

  setSize({ width, height }) {
    if (this.#canvas.width === width && this.#canvas.height === height) return;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.#due = 0;
  }

  setRate(framesPerSecond) {
    this.#rate = framesPerSecond;
  }

  /** The track to send, or null for text-to-video. */
  track() {
    if (this.kind === "none") return null;
    if (!this.#canvas.captureStream) {
      throw new SourceError(
        "This browser cannot send what it draws.",
        "Use a current Chrome, Edge, Firefox or Safari.",
      );
    }
    // No rate here: one frame is sent for each one painted, so the rate can change while live.
    this.#output ??= this.#canvas.captureStream().getVideoTracks()[0];
    return this.#output;
  }

  /** Ends what `track` gave out; the preview goes on. */
  releaseTrack() {
    this.#output?.stop();
    this.#output = null;
  }

  /**
   * Switches to `kind`: `test`, `camera` (deviceId), `screen`, `file` (file), `share` (sender) or `none`. The former
   * source goes on until the new one plays, and stays when it does not.
   */
  async use(kind, options = {}) {
    const attempt = (this.#attempt += 1);
    const opened = await open(kind, options);
    if (attempt !== this.#attempt) {
      // A newer choice was made while the browser was asking; this answer comes too late.
      letGo(opened);
      return;
    }
    letGo(this.#opened);
    this.#opened = opened;
    this.kind = kind;
    const track = opened.stream?.getVideoTracks()[0];
    if (track) track.onended = () => this.#ended();
  }

  /** The device in use, to keep the list and the picture in agreement. */
  get deviceId() {
    return this.#opened.stream?.getVideoTracks()[0]?.getSettings().deviceId;
  }

  /** The name of the file or sender in use. */
  get title() {
    return this.#opened.title ?? "";
  }

  #ended() {
    const sentence = this.kind === "screen" ? "Screen sharing has ended." : "The camera has stopped.";
    this.dispatchEvent(new CustomEvent("ended", { detail: sentence }));
  }

  #tick(now) {
    requestAnimationFrame((next) => this.#tick(next));
    // Slack for the display's own rhythm: without it 30 frames/s on a 60 Hz display turns into 20.
    if (now < this.#due - 4 || this.kind === "none") return;
    const interval = 1000 / this.#rate;
    this.#due = Math.max(this.#due + interval, now + interval / 2);
    this.#paint(now);
  }

  #paint(now) {
    const { width, height } = this.#canvas;
    const context = this.#context;
    if (this.kind === "test") paintPattern(context, width, height, this.resting ? 0 : now / 1000);
    else this.#paintOpened(context, width, height);
    if (this.stamped) paintStamp(context, width, height, performance.now());
  }

  #paintOpened(context, width, height) {
    const { still, video } = this.#opened;
    context.save();
    if (this.kind === "camera" && this.mirrored) context.setTransform(-1, 0, 0, 1, width, 0);
    if (still) cover(context, still, still.width, still.height, width, height);
    else if (video?.videoWidth) cover(context, video, video.videoWidth, video.videoHeight, width, height);
    context.restore();
  }
}

/** The cameras the browser tells us about. Before permission it gives them without names. */
export async function cameras() {
  const devices = await navigator.mediaDevices?.enumerateDevices?.().catch(() => []);
  return (devices ?? [])
    .filter(({ kind, deviceId }) => kind === "videoinput" && deviceId)
    .map(({ deviceId, label }, index) => ({ deviceId, label: label || `Camera ${index + 1}` }));
}

export const canShareScreen = () => Boolean(navigator.mediaDevices?.getDisplayMedia);

function open(kind, { deviceId, file, sender }) {
  switch (kind) {
    case "camera":
      return openCamera(deviceId);
    case "screen":
      return openScreen();
    case "file":
      return openFile(file);
    case "share":
      return openShare(sender);
    default:
      return {};
  }
}

async function openCamera(deviceId) {
  requireMedia("camera");
  const video = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
  if (deviceId) video.deviceId = { exact: deviceId };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  } catch (cause) {
    throw cameraError(cause);
  }
  return playing({ stream });
}

function cameraError({ name, message }) {
  switch (name) {
    case "NotAllowedError":
    case "SecurityError":
      return new SourceError(
        "The browser was not allowed to use the camera.",
        "Allow the camera for this page in the address bar and choose it again, or use the test pattern.",
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return new SourceError(
        "No camera was found.",
        "Plug one in and choose the camera again, or use the test pattern.",
      );
    case "NotReadableError":
    case "AbortError":
      return new SourceError(
        "The camera is busy in another program.",
        "Close the other program and choose the camera again, or use the test pattern.",
      );
    default:
      return new SourceError(`The camera could not be opened (${message}).`, "Choose another source.");
  }
}

async function openScreen() {
  requireMedia("screen");
  if (!canShareScreen()) {
    throw new SourceError("This browser cannot share its screen.", "Use a desktop browser, or choose another source.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 30 }, audio: false });
  } catch (cause) {
    throw cause.name === "NotAllowedError"
      ? new SourceError("Screen sharing was not allowed.", "Choose the screen again and pick a window to share.")
      : new SourceError(`The screen could not be shared (${cause.message}).`, "Choose another source.");
  }
  return playing({ stream });
}

async function openShare(sender) {
  try {
    return await follow(sender);
  } catch (cause) {
    throw new SourceError(cause.message, cause.hint ?? "Start its output and choose it again, or use another source.");
  }
}

async function openFile(file) {
  if (!file.type.startsWith("image/")) return playing({ address: URL.createObjectURL(file), title: file.name });
  try {
    return { still: await createImageBitmap(file), title: file.name };
  } catch {
    throw new SourceError(`This browser cannot show ${file.name}.`, "Try a PNG or JPEG picture.");
  }
}

/** Adds a video element that already plays; what cannot play is given back before the complaint. */
async function playing(opened) {
  const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true, loop: true });
  if (opened.stream) video.srcObject = opened.stream;
  else video.src = opened.address;
  try {
    await video.play();
  } catch {
    letGo({ ...opened, video });
    throw opened.title
      ? new SourceError(`This browser cannot play ${opened.title}.`, "Try an MP4 (H.264) or WebM file.")
      : new SourceError("The picture of this source cannot be played.", "Choose the source again.");
  }
  return { ...opened, video };
}

function letGo({ stream, still, video, address, ending }) {
  ending?.abort();
  for (const track of stream?.getTracks() ?? []) {
    track.onended = null;
    track.stop();
  }
  still?.close();
  video?.pause();
  video?.removeAttribute("src");
  if (address) URL.revokeObjectURL(address);
}

/** Browsers hide the camera and the screen from pages that came over plain HTTP from another machine. */
function requireMedia(what) {
  if (navigator.mediaDevices?.getUserMedia) return;
  throw new SourceError(
    `The browser hides the ${what} from this page, because the page did not come over HTTPS or from this machine.`,
    "Open it at http://localhost or over HTTPS, or use the test pattern or a file.",
  );
}

/** Fills the target without distortion; what is too much at two sides is cut off evenly. */
function cover(context, picture, fromWidth, fromHeight, width, height) {
  const scale = Math.max(width / fromWidth, height / fromHeight);
  const cutWidth = width / scale;
  const cutHeight = height / scale;
  context.drawImage(
    picture,
    (fromWidth - cutWidth) / 2,
    (fromHeight - cutHeight) / 2,
    cutWidth,
    cutHeight,
    0,
    0,
    width,
    height,
  );
}
