// The pictures on the page: their shape, how they are arranged, and the still that can be kept of them.

import { say } from "./messages.js";

const by = (id) => document.getElementById(id);

export class Viewer {
  #root = by("viewer");
  #video = by("output-video");
  #awake = null;

  constructor() {
    by("view-both").addEventListener("click", () => this.#arrange("both"));
    by("view-output").addEventListener("click", () => this.#arrange("output"));
    by("still").addEventListener("click", () => this.saveStill());
    by("full").addEventListener("click", () => this.toggleFullScreen());
    this.#video.addEventListener("resize", () => this.#showOutputSize());
    this.#leaveRoomBelow();
  }

  /** The pictures get the height that the controls below them leave, so that both are seen at once. */
  #leaveRoomBelow() {
    const stage = this.#root.parentElement;
    const below = [...stage.children].filter((part) => part !== this.#root);
    const observer = new ResizeObserver(() => {
      const { rowGap, paddingTop, paddingBottom } = getComputedStyle(stage);
      const heights = below.reduce((sum, part) => sum + part.offsetHeight + parseFloat(rowGap), 0);
      this.#root.style.setProperty("--below", `${heights + parseFloat(paddingTop) + parseFloat(paddingBottom)}px`);
    });
    for (const part of below) observer.observe(part);
  }

  /** Both tiles take the shape of the picture, so nothing moves when it arrives. */
  setSize({ width, height }) {
    this.#root.style.setProperty("--aspect", width / height);
  }

  showStream(stream) {
    this.#video.srcObject = stream;
    // Autoplay may be refused once; the picture is muted, so asking again is enough.
    this.#video.play().catch(() => {});
  }

  clear() {
    this.#video.srcObject = null;
    by("output-caption").textContent = "";
  }

  /** Calls back with the first picture that is really there; maybe twice, so the listener must not mind. */
  onFirstPicture(act) {
    this.#video.addEventListener("playing", act, { once: true });
    // The event above may come late; the one below never comes while the page is covered.
    this.#video.requestVideoFrameCallback?.(act);
  }

  /** There is a picture to keep, or there is none any more. */
  setLive(live) {
    by("still").disabled = !live;
    this.#stayAwake(live);
  }

  /** A phone must not go dark in the middle of a performance. Not every browser can promise that. */
  async #stayAwake(wanted) {
    const former = this.#awake;
    this.#awake = null;
    await former?.release().catch(() => {});
    if (wanted) this.#awake = await navigator.wakeLock?.request("screen").catch(() => null);
  }

  swapView() {
    this.#arrange(this.#root.dataset.view === "both" ? "output" : "both");
  }

  toggleFullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (by("output-tile").requestFullscreen)
      by("output-tile")
        .requestFullscreen()
        .catch(() => {});
    // Phones of one maker only let the video itself fill the screen.
    else this.#video.webkitEnterFullscreen?.();
  }

  saveStill() {
    if (by("still").disabled || !this.#video.videoWidth) return;
    const canvas = document.createElement("canvas");
    canvas.width = this.#video.videoWidth;
    canvas.height = this.#video.videoHeight;
    canvas.getContext("2d").drawImage(this.#video, 0, 0);
    canvas.toBlob((blob) => save(blob, `gst-scope-${timeForName()}.png`), "image/png");
    say("Picture saved.");
  }

  #arrange(view) {
    this.#root.dataset.view = view;
    by("view-both").setAttribute("aria-pressed", String(view === "both"));
    by("view-output").setAttribute("aria-pressed", String(view === "output"));
  }

  #showOutputSize() {
    const { videoWidth, videoHeight } = this.#video;
    by("output-caption").textContent = videoWidth ? `${videoWidth} × ${videoHeight}` : "";
  }
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const timeForName = () => new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-");
