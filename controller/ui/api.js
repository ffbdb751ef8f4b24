// The server as the page sees it: one function per REST call, and one error type for everything that can go wrong
// between a button and its reply.
//
// The access token never stays in the address bar, because addresses end up in screenshots, history and screen shares.

const TOKEN_KEY = "gst-scope.token";
const REPLY_WITHIN_MS = 30_000;
/** Bytes of a file at once: as base64 still below what gateways let through a socket. */
const PIECE = 2 * 1024 * 1024;

/** A refusal or a silence of the server, told in a sentence with a next step. */
export class ServerError extends Error {
  constructor({ sentence, hint = "", code = "", status = 0 }) {
    super(sentence);
    this.name = "ServerError";
    this.hint = hint;
    this.code = code;
    this.status = status;
  }

  /** True when nobody answered at all, as opposed to an answer that says no. */
  get unreachable() {
    return this.status === 0;
  }
}

/** How a request travels; any function with the shape of `fetch`. */
let carry = (path, options) => fetch(path, options);

let isCarried = false;

export function carryBy(fetchLike) {
  carry = fetchLike;
  isCarried = true;
}

/** Moves `#token=…` from the address into this tab's memory. Call once, before the first request. */
export function takeTokenFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (!token) return;
  setToken(token);
  fragment.delete("token");
  const rest = fragment.toString();
  history.replaceState(null, "", location.pathname + location.search + (rest ? `#${rest}` : ""));
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN_KEY, token);
}

export const schemas = (signal) => call("GET", "/api/v1/pipelines/schemas", undefined, signal);
export const health = (signal) => call("GET", "/health", undefined, signal);
export const hardware = (signal) => call("GET", "/api/v1/hardware/info", undefined, signal);
export const loadPipelines = (pipelines, signal) => call("POST", "/api/v1/pipeline/load", { pipelines }, signal);
export const pipelineStatus = (signal) => call("GET", "/api/v1/pipeline/status", undefined, signal);
export const iceServers = (signal) => call("GET", "/api/v1/webrtc/ice-servers", undefined, signal);
export const offer = (body, signal) => call("POST", "/api/v1/webrtc/offer", body, signal);
export const metrics = (signal) => call("GET", "/api/v1/session/metrics", undefined, signal);

export const modelStatus = (id, signal) =>
  call("GET", `/api/v1/models/status?pipeline_id=${encodeURIComponent(id)}`, undefined, signal);
export const downloadModel = (id, signal) => call("POST", "/api/v1/models/download", { pipeline_id: id }, signal);

export const startRecording = (id) => call("POST", `${recordingsOf(id)}/start`);
export const stopRecording = (id) => call("POST", `${recordingsOf(id)}/stop`);
const recordingsOf = (id) => `/api/v1/recordings/${encodeURIComponent(id)}`;

/**
 * Where a complete recording can be saved from, and under which name. A link carries neither a token nor words through a
 * socket, so with one of these the file comes here in pieces first.
 */
export async function recordingLink(id) {
  const path = recordingsOf(id);
  const first = await request("GET", `${path}?range=bytes=0-0`);
  const type = first.headers.get("content-type") ?? "video/mp4";
  const name = `gst-scope-${new Date().toISOString().slice(0, 19).replace(/[T:]/g, "-")}.${type.split("/")[1]}`;
  if (!isCarried && !sessionStorage.getItem(TOKEN_KEY)) return { address: path, name };
  const pieces = [];
  for (let at = 0, came = PIECE; came === PIECE; at += PIECE) {
    const piece = await request("GET", `${path}?range=bytes=${at}-${at + PIECE - 1}`).catch((error) => {
      // The last piece was a full one.
      if (error.status === 416) return null;
      throw error;
    });
    const blob = piece ? await piece.blob() : new Blob();
    pieces.push(blob);
    came = blob.size;
  }
  return { address: URL.createObjectURL(new Blob(pieces, { type })), name };
}

/** Stores a file among the server's assets, under this name. */
export async function upload(name, blob) {
  const path = `/api/v1/assets?filename=${encodeURIComponent(name)}`;
  // Words are all that goes through a socket.
  if (isCarried) return call("POST", path, { _base64_content: await base64(blob), _content_type: blob.type });
  return (await request("POST", path, blob)).json();
}

async function base64(blob) {
  let text = "";
  for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
  return btoa(text);
}

/** A stored file. A plain address would not carry the token. */
export const asset = async (name) =>
  (await request("GET", `/api/v1/assets/${name.split("/").map(encodeURIComponent).join("/")}`)).blob();

export const cloudStatus = (signal) => call("GET", "/api/v1/cloud/status", undefined, signal);
/** Answers once the credentials are accepted or refused; `wish` may leave out what the server has configured. */
export const connectCloud = (wish) => call("POST", "/api/v1/fal/connect", wish);
export const disconnectCloud = () => call("POST", "/api/v1/cloud/disconnect", {});

export const senders = (signal) => call("GET", "/api/v1/input-sources/spout/sources", undefined, signal);
/** Pictures without end, so without the usual limit in time. */
export const senderStream = (sender, fps, signal) =>
  request(
    "GET",
    `/api/v1/input-sources/spout/sources/${encodeURIComponent(sender)}/stream?fps=${fps}`,
    undefined,
    undefined,
    { signal },
  );

export const addCandidates = (sessionId, candidates) =>
  call("PATCH", `/api/v1/webrtc/offer/${encodeURIComponent(sessionId)}`, { candidates });

/** `keepalive` lets the goodbye leave even while the page is being closed. */
export const closeSession = (sessionId) =>
  call("DELETE", `/api/v1/webrtc/offer/${encodeURIComponent(sessionId)}`, undefined, undefined, { keepalive: true });

async function call(method, path, body, signal, options) {
  const response = await request(method, path, body, signal, options);
  if (response.status === 204) return null;
  const isJson = response.headers.get("content-type")?.includes("json");
  if (!isJson) {
    throw new ServerError({
      sentence: `The server answered ${path} with something that is not JSON.`,
      hint: "Check that this address belongs to gst-scope and not to another program.",
      status: response.status,
    });
  }
  return response.json();
}

async function request(method, path, body, signal, options = {}) {
  const headers = {};
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (token) headers.Authorization = `Bearer ${token}`;
  const isFile = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = isFile ? body.type : "application/json";

  const timeout = AbortSignal.timeout(REPLY_WITHIN_MS);
  let response;
  try {
    response = await carry(path, {
      method,
      headers,
      body: body === undefined || isFile ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      cache: "no-store",
      ...options,
    });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ServerError({
      sentence: timeout.aborted ? "The server took too long to answer." : "The server does not answer.",
      hint: "Check that gst-scope is still running, then try again.",
    });
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const reply = (await response.json().catch(() => null)) ?? {};
  const { status } = response;
  if (status === 401) {
    return new ServerError({
      sentence: "This server asks for its access token.",
      hint: "Open the address that gst-scope printed when it started, or enter the token here.",
      code: reply.code ?? "token_required",
      status,
    });
  }
  return new ServerError({
    sentence: sentenceFrom(reply.detail) ?? `The server refused with status ${status}.`,
    hint: asSentence(reply.hint),
    code: reply.code,
    status,
  });
}

/** `detail` is a string, or a list of complaints about fields, or (rarely) an object with a message. */
function sentenceFrom(detail) {
  if (typeof detail === "string" && detail.trim()) return asSentence(detail);
  if (Array.isArray(detail) && detail.length > 0) {
    return detail
      .map(({ loc = [], msg = "is not valid" }) => {
        const field = loc.filter((part) => part !== "body").join(" › ");
        return asSentence(field ? `${field}: ${msg}` : msg);
      })
      .join(" ");
  }
  return typeof detail?.message === "string" ? asSentence(detail.message) : undefined;
}

/** Starts with a capital and ends with a full stop, whoever wrote it. */
export function asSentence(text) {
  const trimmed = text?.trim();
  if (!trimmed) return "";
  // A leading name in code style (`prompts: …`) keeps its spelling.
  const head = /^[a-z]+[ ,]/.test(trimmed) ? trimmed[0].toUpperCase() + trimmed.slice(1) : trimmed;
  return /[.!?…]$/.test(head) ? head : `${head}.`;
}
