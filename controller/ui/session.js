// One negotiated connection to the server: offer, candidates, the `parameters` channel, and the end of it.
//
// Decision: no reconnecting in here. A session is opened once and closed once; whoever owns it decides what comes next.

import * as api from "./api.js";

/** ICE often recovers from `disconnected` by itself; only after this long is the session called lost. */
const DISCONNECT_GRACE_MS = 4_000;

/**
 * Events: `connected`, `picture` (detail: MediaStream), `message` (detail: object from the server),
 * `stopped` (detail: sentence or ""), `lost`. After `stopped` or `lost` the session is of no further use.
 */
export class Session extends EventTarget {
  id = null;
  peer = null;
  #channel = null;
  #held = {};
  #early = [];
  #grace = 0;
  #finished = false;

  /**
   * @param track the picture to send, or null for text-to-video
   * @param parameters the initial parameters, as the REST contract names them
   */
  async open({ track, parameters, iceServers, signal }) {
    const peer = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.peer = peer;
    signal?.addEventListener("abort", () => this.close());
    this.#watch(peer);

    // The channel must exist before the offer, or the offer has no line for it.
    this.#channel = peer.createDataChannel("parameters", { ordered: true });
    this.#channel.onopen = () => this.#flush();
    this.#channel.onmessage = ({ data }) => this.#receive(data);
    this.#channel.onclose = () => this.#finish("lost");

    const transceiver = peer.addTransceiver(track ?? "video", { direction: "sendrecv" });
    preferVp8(transceiver);

    await peer.setLocalDescription(await peer.createOffer());
    const answer = await api.offer(
      { sdp: peer.localDescription.sdp, type: "offer", initialParameters: parameters },
      signal,
    );
    if (this.#finished) {
      // Stopped while the offer was on its way: the server now holds a session nobody wants.
      api.closeSession(answer.sessionId).catch(() => {});
      return;
    }
    this.id = answer.sessionId;
    for (const candidate of this.#early.splice(0)) this.#sendCandidate(candidate);
    await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    await keepResolution(transceiver.sender);
  }

  /** Sends a patch of live parameters. Patches made before the channel opens are merged and sent on open. */
  send(patch) {
    if (this.#channel?.readyState === "open") this.#channel.send(JSON.stringify(patch));
    else Object.assign(this.#held, patch);
  }

  close() {
    if (this.#finished) return;
    this.#finished = true;
    this.#release();
  }

  #watch(peer) {
    peer.onicecandidate = ({ candidate }) => {
      // The null at the end is not sent: the answer already holds every candidate of the server.
      if (!candidate?.candidate) return;
      if (this.id) this.#sendCandidate(candidate);
      else this.#early.push(candidate);
    };
    peer.ontrack = ({ track, streams, receiver }) => {
      if (track.kind !== "video") return;
      // A live instrument wants the newest picture, not a smooth one.
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = 0;
      this.#tell("picture", streams[0] ?? new MediaStream([track]));
    };
    peer.onconnectionstatechange = () => {
      clearTimeout(this.#grace);
      const state = peer.connectionState;
      if (state === "connected") this.#tell("connected");
      else if (state === "failed") this.#finish("lost");
      else if (state === "disconnected") this.#grace = setTimeout(() => this.#finish("lost"), DISCONNECT_GRACE_MS);
    };
  }

  #sendCandidate({ candidate, sdpMid, sdpMLineIndex }) {
    // Not an error when refused: on one host the connection finds its way without it.
    api.addCandidates(this.id, [{ candidate, sdpMid, sdpMLineIndex }]).catch(() => {});
  }

  #flush() {
    if (Object.keys(this.#held).length > 0) this.#channel.send(JSON.stringify(this.#held));
    this.#held = {};
  }

  #receive(data) {
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return; // Not for us: the contract says JSON.
    }
    if (message?.type === "stream_stopped") this.#finish("stopped", message.error_message ?? "");
    else this.#tell("message", message);
  }

  #finish(kind, detail) {
    if (this.#finished) return;
    this.#finished = true;
    this.#release();
    this.#tell(kind, detail);
  }

  #release() {
    clearTimeout(this.#grace);
    this.peer?.close();
    if (this.id) api.closeSession(this.id).catch(() => {});
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

/** VP8 starts fastest and every server build has it; the other codecs stay offered behind it. */
function preferVp8(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities?.("video")?.codecs;
  if (!codecs || !transceiver.setCodecPreferences) return;
  const rank = ({ mimeType }) => (mimeType === "video/VP8" ? 0 : 1);
  transceiver.setCodecPreferences([...codecs].sort((a, b) => rank(a) - rank(b)));
}

/** The model works at one size: under a narrow uplink send fewer frames rather than smaller ones. */
async function keepResolution(sender) {
  if (!sender.track) return;
  const parameters = sender.getParameters();
  parameters.degradationPreference = "maintain-resolution";
  await sender.setParameters(parameters).catch(() => {});
}
