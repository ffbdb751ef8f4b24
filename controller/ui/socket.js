// The server through one WebSocket instead of many requests: `?transport=socket`.
//
// What comes out of here is a `fetch`, so nobody else needs to know. Offers and candidates travel in the words of
// signalling, because a session offered on the socket ends with it, also when this page is gone without a goodbye.

const OFFER = "/api/v1/webrtc/offer";
const ICE_SERVERS = "/api/v1/webrtc/ice-servers";
const PROTOCOL = "gst-scope";

/** A `fetch` through a socket of its own, which is opened with the first call and again after a loss. */
export function socketFetch() {
  const line = new Line();
  return async (path, { method = "GET", headers = {}, body, signal } = {}) => {
    signal?.throwIfAborted();
    const content = body === undefined ? null : JSON.parse(body);
    if (!(await line.open(headers.Authorization))) return reasonOf(path, headers, signal);
    return answer(line, method, path, content, signal);
  };
}

async function answer(line, method, path, content, signal) {
  if (method === "POST" && path === OFFER) {
    const { sdp, initialParameters } = content;
    const reply = await line.ask({ type: "offer", sdp_type: "offer", sdp, initialParameters }, signal);
    if (reply.type !== "answer") return refused(reply.error);
    return json(200, { sdp: reply.sdp, type: "answer", sessionId: reply.sessionId });
  }
  if (method === "PATCH" && path.startsWith(`${OFFER}/`)) {
    const sessionId = decodeURIComponent(path.slice(OFFER.length + 1));
    for (const candidate of content.candidates) {
      const reply = await line.ask({ type: "icecandidate", sessionId, candidate }, signal);
      if (reply.type === "error") return refused(reply.error);
    }
    return json(204);
  }
  if (method === "GET" && path === ICE_SERVERS) {
    const reply = await line.ask({ type: "get_ice_servers" }, signal);
    return reply.type === "error" ? refused(reply.error) : json(200, reply.data);
  }
  const reply = await line.ask({ type: "api", method, path, body: content }, signal);
  if (reply.error) return json(reply.status ?? 502, { detail: reply.error });
  if (reply._base64_content === undefined) return json(reply.status, reply.data);
  const bytes = Uint8Array.from(atob(reply._base64_content), (letter) => letter.charCodeAt(0));
  return new Response(bytes, { status: reply.status, headers: { "Content-Type": reply._content_type } });
}

function json(status, data) {
  const empty = status === 204 || status === 304;
  return new Response(empty ? null : JSON.stringify(data), {
    status,
    headers: { "Content-Type": "application/json" },
  });
}

/** `Offer failed: 400: the sentence` as the REST route would have put it. */
function refused(error) {
  const [, status, sentence] = /^[^:]*: (\d{3}): (.*)$/s.exec(error) ?? [null, "502", error];
  return json(Number(status), { detail: sentence });
}

/** A browser does not say why a socket was refused; a plain request for the same thing is told. */
async function reasonOf(path, headers, signal) {
  const response = await fetch("/api/v1/pipeline/status", { headers, signal, cache: "no-store" });
  if (!response.ok) return response;
  throw new TypeError(`the socket for ${path} could not be opened`);
}

/** The socket and who waits for what on it. */
class Line {
  #socket = null;
  #opening = null;
  #waiting = new Map();
  #count = 0;

  /** True when it is open, at once or after the server has said `ready`. */
  open(authorization) {
    if (this.#socket?.readyState === WebSocket.OPEN) return true;
    this.#opening ??= this.#connect(authorization).finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  /** The reply to this message. */
  ask(message, signal) {
    return new Promise((resolve, reject) => {
      const id = String((this.#count += 1));
      this.#waiting.set(id, { resolve, reject });
      signal?.addEventListener(
        "abort",
        () => {
          this.#waiting.delete(id);
          reject(signal.reason);
        },
        { once: true },
      );
      this.#socket.send(JSON.stringify({ ...message, request_id: id }));
    });
  }

  #connect(authorization) {
    return new Promise((resolve) => {
      const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;
      const socket = new WebSocket(address, protocols(authorization));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "ready") {
          this.#socket = socket;
          resolve(true);
        } else this.#hear(message);
      };
      socket.onclose = () => {
        resolve(false);
        if (this.#socket === socket) this.#lose();
      };
    });
  }

  #hear(message) {
    const waiting = this.#waiting.get(message.request_id);
    this.#waiting.delete(message.request_id);
    waiting?.resolve(message);
  }

  #lose() {
    this.#socket = null;
    for (const { reject } of this.#waiting.values()) reject(new TypeError("the socket was lost"));
    this.#waiting.clear();
  }
}

/** A page can give a socket no header, so the token travels as a protocol. */
function protocols(authorization) {
  const token = authorization?.replace(/^Bearer /, "");
  if (!token) return [PROTOCOL];
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  const encoded = btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [PROTOCOL, `bearer.${encoded}`];
}
