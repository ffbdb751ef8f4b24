// The page as a whole: one state at a time, and who is told when it changes.
//
// idle → loading → connecting → live ⇄ paused, and from anywhere to error or back to idle. The state stands
// on <body> as `data-state`; the style sheet and the tests read it there.

import * as api from "./api.js";
import { showAbout, showUnusable } from "./about.js";
import { CloudSwitch } from "./cloud.js";
import { element } from "./element.js";
import { Figures } from "./figures.js";
import { bindKeys } from "./keys.js";
import { announce, explain, forgetErrors, hideCard, say, sayError, showCard } from "./messages.js";
import { ordered, ready, routing } from "./models.js";
import { Parameters } from "./parameters.js";
import { Pictures } from "./pictures.js";
import { Prompts } from "./prompts.js";
import { isOneSize, preferredSize } from "./schema.js";
import { Recording } from "./recording.js";
import { Session } from "./session.js";
import { ShareSwitch } from "./share.js";
import { socketFetch } from "./socket.js";
import { Source } from "./source.js";
import { SourcePicker } from "./source-picker.js";
import { Viewer } from "./viewer.js";

const SIZES = ["256x256", "384x384", "512x512", "512x288", "288x512", "768x768"];
/** A file cannot be chosen by an address. */
const ADDRESS_SOURCES = ["camera", "screen", "test", "none"];
const STATE_WORDS = {
  idle: "Ready",
  loading: "Loading",
  connecting: "Connecting",
  live: "Live",
  paused: "Paused",
  error: "Stopped",
};
const FIRST_PICTURE_MS = 12_000;
const KNOCK_MS = 2_000;

const by = (id) => document.getElementById(id);
const viewer = new Viewer();
const source = new Source(by("input-picture"));
const picker = new SourcePicker(source);
const prompts = new Prompts(by("prompts"));
const parameters = new Parameters(by("live-fields"), by("load-fields"));
const pictures = new Pictures();
const figures = new Figures(by("figures"), by("output-video"), source);
const recording = new Recording();
const cloud = new CloudSwitch();
const share = new ShareSwitch();
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

let models = [];
let session = null;
let attempt = null;
let patience = 0;
let knocking = 0;
let machineHere = "";

const state = () => document.body.dataset.state;
const isBusy = () => !["idle", "error"].includes(state());
const isOn = () => ["live", "paused"].includes(state());
const model = () => models.find(({ id }) => id === by("model").value);

function setState(next) {
  const startHadFocus = document.activeElement === by("start");
  const stopHadFocus = document.activeElement === by("stop");
  document.body.dataset.state = next;
  by("state-text").textContent = STATE_WORDS[next];
  announce(STATE_WORDS[next]);
  document.title = next === "idle" ? "gst-scope" : `${STATE_WORDS[next]} · gst-scope`;

  by("start").hidden = isBusy();
  by("start").disabled = models.length === 0;
  by("stop").hidden = !isBusy();
  by("stop").lastChild.textContent = isOn() ? "Stop" : "Cancel";
  // Start and Stop take each other's place, so the focus moves with them.
  if (startHadFocus && isBusy()) by("stop").focus();
  if (stopHadFocus && !isBusy()) by("start").focus();
  by("pause").disabled = !isOn();
  by("pause").lastChild.textContent = next === "paused" ? "Resume" : "Pause";
  by("pause-icon").setAttribute("href", next === "paused" ? "#icon-play" : "#icon-pause");
  for (const control of [by("model"), by("size"), by("load-fields")]) control.disabled = isBusy();
  picker.setLiveMode(isBusy() ? picker.mode : null);
  source.resting = stillness.matches && !isBusy();
  if (isOn()) hideCard();
}

function showIdleCard() {
  showCard(
    model()
      ? { title: "Ready when you are", text: "Press Start to send the input through the model." }
      : { title: "Looking for models", progress: true },
  );
}

async function start() {
  const chosen = model();
  if (isBusy() || !chosen) return;
  stopKnocking();
  forgetErrors();
  attempt = new AbortController();
  const { signal } = attempt;
  setState("loading");
  try {
    chosen.model_info = await ready(
      chosen,
      { ...size(), ...parameters.loadParams() },
      { signal, tell: showCard },
    );
    showAbout(model());
    setState("connecting");
    showCard({ title: "Connecting", text: "Agreeing on a way for the pictures", progress: true });
    // Without the list the page still works on one network, so a missing list is no reason to give up.
    const { iceServers = [] } = await api.iceServers(signal).catch(() => ({}));
    session = new Session();
    watch(session);
    await session.open({ track: source.track(), parameters: initialParameters(chosen), iceServers, signal });
  } catch (error) {
    if (!signal.aborted) fail(explain(error), { error });
  }
}

function watch(opened) {
  const mine = (act) => (event) => {
    if (opened === session) act(event.detail);
  };
  opened.addEventListener(
    "picture",
    mine((stream) => {
      viewer.showStream(stream);
      viewer.onFirstPicture(mine(goLive));
    }),
  );
  opened.addEventListener(
    "connected",
    mine(() => {
      if (state() !== "connecting") return;
      showCard({ title: "Connected", text: "Waiting for the first picture", progress: true });
      clearTimeout(patience);
      patience = setTimeout(
        () =>
          showCard({
            title: "Connected, but no picture has come back yet",
            text: "The model may still be warming up. If this lasts, stop and read the server's log.",
            progress: true,
          }),
        FIRST_PICTURE_MS,
      );
    }),
  );
  opened.addEventListener("message", mine(hear));
  opened.addEventListener(
    "stopped",
    mine((sentence) =>
      fail({
        sentence: api.asSentence(sentence) || "The server ended the session.",
        hint: "Start again when you are ready.",
      }),
    ),
  );
  opened.addEventListener("lost", mine(lose));
}

function lose() {
  const lost = { sentence: "The connection to the server was lost.", hint: "Looking for the server…" };
  fail(lost, { action: "Reconnect", knock: true });
}

function goLive() {
  if (state() !== "connecting") return;
  clearTimeout(patience);
  setState("live");
  figures.start(session);
  viewer.setLive(true);
  recording.setSession(session.id);
}

/** What the server says on the parameter channel. */
function hear({ type, parameters: patch, detail, message, hint, error }) {
  if (type === "parameters_updated" && patch) {
    parameters.reflect(patch);
    prompts.reflect(patch);
    pictures.reflect(patch);
    share.reflect(patch);
    if (typeof patch.paused === "boolean" && isOn()) setState(patch.paused ? "paused" : "live");
  } else if (type === "error" || type === "warning") {
    const text = [detail, message, error].find((part) => typeof part === "string");
    say(api.asSentence(text ?? "The server refused the last change."), {
      hint: api.asSentence(hint),
      isError: type === "error",
    });
  }
}

function initialParameters(chosen) {
  const initial = { ...routing(chosen, picker.mode), ...parameters.initial(), ...pictures.initial(), ...share.initial() };
  if (picker.inputSource.enabled) initial.input_source = picker.inputSource;
  return chosen.supports_prompts === false ? initial : { ...initial, ...prompts.initial() };
}

/** Gives everything back; what the page then shows is the caller's to say. */
function letGo() {
  clearTimeout(patience);
  attempt?.abort();
  const ended = session;
  session = null;
  ended?.close();
  source.releaseTrack();
  figures.stop();
  prompts.rest();
  recording.setSession(null);
  viewer.setLive(false);
  viewer.clear();
}

function stop() {
  stopKnocking();
  letGo();
  setState("idle");
  showIdleCard();
}

function fail({ sentence, hint }, { action = "Try again", knock = false, error } = {}) {
  letGo();
  setState("error");
  const card = { title: sentence, text: hint, action, act: models.length ? start : begin, isError: true };
  if (error?.status === 401) Object.assign(card, { action: "Enter the token", act: askForToken });
  showCard(card);
  if (knock || error?.unreachable) knockUntilBack(card);
}

/** Asks the server every two seconds whether it is there again, and says so. */
function knockUntilBack(card) {
  stopKnocking();
  knocking = setInterval(async () => {
    const answered = await api.health().then(
      () => true,
      (error) => !error.unreachable,
    );
    if (!answered || !knocking) return;
    stopKnocking();
    if (models.length === 0) await begin();
    else if (state() === "error") showCard({ ...card, text: "The server answers again.", action: "Reconnect" });
  }, KNOCK_MS);
}

function stopKnocking() {
  clearInterval(knocking);
  knocking = 0;
}

function togglePause() {
  if (!isOn()) return;
  const paused = state() === "live";
  session.send({ paused });
  setState(paused ? "paused" : "live");
}

async function askForToken() {
  const dialog = by("token");
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener(
    "close",
    () => {
      if (dialog.returnValue === "use" && by("token-value").value) {
        api.setToken(by("token-value").value.trim());
        by("token-value").value = "";
        begin();
      }
    },
    { once: true },
  );
}

function size() {
  const [width, height] = by("size").value.split("x").map(Number);
  return { width, height };
}

function applySize() {
  source.setSize(size());
  viewer.setSize(size());
}

function offerSizes(wanted) {
  const some = isOneSize(model()) ? [] : SIZES;
  const all = some.includes(wanted) ? some : [...some, wanted];
  by("size").replaceChildren(...all.map((value) => element("option", { value }, value.replace("x", " × "))));
  by("size").value = wanted;
  applySize();
}

function applyModel() {
  const chosen = model();
  picker.setModel(chosen);
  prompts.setModel(chosen);
  pictures.setModel(chosen);
  by("model-note").textContent = api.asSentence(chosen?.description);
  showAbout(chosen);
  const { width, height } = preferredSize(chosen, picker.mode);
  offerSizes(`${width}x${height}`);
  drawParameters();
}

function drawParameters() {
  parameters.setModel(model(), picker.mode);
  by("live-section").hidden = !parameters.hasLive;
  by("load-section").hidden = !parameters.hasAtLoad;
}

function offerModels() {
  const group = (title, list) => {
    const made = element("optgroup", {}, ...list.map(option));
    made.label = title;
    return list.length ? [made] : [];
  };
  const option = ({ id, name }) => element("option", { value: id }, name ?? id);
  const main = models.filter(({ usage }) => !usage?.length);
  const helpers = models.filter(({ usage }) => usage?.length);
  by("model").replaceChildren(...main.map(option), ...group("Before and after", helpers));
}

async function begin() {
  setState("idle");
  showIdleCard();
  try {
    const { pipelines, unusable } = await api.schemas();
    models = ordered(pipelines);
    showUnusable(unusable);
  } catch (error) {
    fail(explain(error), { error });
    return;
  }
  if (models.length === 0) {
    fail({ sentence: "The server offers no model.", hint: "Add a model folder to the server and reload this page." });
    return;
  }
  offerModels();
  applyModel();
  setState("idle");
  showIdleCard();
  describeServer();
  await applyAddress();
}

/** Presets in the address: `?source=test&model=…&prompt=…&size=256&fps=30&autostart=1`. */
async function applyAddress() {
  const wanted = new URLSearchParams(location.search);
  const wantedModel = wanted.get("model");
  if (wantedModel && models.some(({ id }) => id === wantedModel)) {
    by("model").value = wantedModel;
    applyModel();
  } else if (wantedModel)
    say(`The server has no model called ${wantedModel}.`, { hint: "Another one is chosen.", isError: true });
  const wantedSource = wanted.get("source");
  const hasSource = !ADDRESS_SOURCES.includes(wantedSource) || (await picker.use(wantedSource));
  const wantedSize = wanted.get("size");
  if (!isOneSize(model()) && /^\d+(x\d+)?$/.test(wantedSize ?? ""))
    offerSizes(wantedSize.includes("x") ? wantedSize : `${wantedSize}x${wantedSize}`);
  if (wanted.has("fps")) setRate(Number(wanted.get("fps")));
  if (wanted.has("prompt")) prompts.setText(wanted.get("prompt"));
  if (wanted.get("autostart") === "1" && hasSource) start();
}

function setRate(rate) {
  if (!(rate >= 1 && rate <= 60)) return;
  by("rate").value = String(rate);
  source.setRate(rate);
}

/** Nice to know; the page works without. */
async function describeServer() {
  const [machine, health] = await Promise.allSettled([api.hardware(), api.health()]);
  machineHere = machine.value ? machineOf(machine.value) : "";
  share.setAble(Boolean(machine.value?.spout?.available));
  cloud.begin();
  nameMachine({});
  by("version").textContent = health.value?.version ? `gst-scope ${health.value.version}` : "";
}

/** Which machine makes the pictures: this one, or the cloud's once its pictures come. */
function nameMachine({ app_id: app, stage, hardware }) {
  const there = ["Cloud", app, hardware && machineOf(hardware)].filter(Boolean).join(" · ");
  by("machine").textContent = app && stage === "live" ? there : machineHere;
}

const machineOf = ({ gpu, vram_gb: memory }) => (memory ? `${gpu ?? "GPU"}, ${Math.round(memory)} GB` : "CPU");

function change(patch) {
  if (isBusy()) session?.send(patch);
}

by("start").addEventListener("click", start);
by("stop").addEventListener("click", stop);
by("pause").addEventListener("click", togglePause);
by("reset").addEventListener("click", () => parameters.reset());
by("model").addEventListener("change", applyModel);
by("size").addEventListener("change", applySize);
by("rate").addEventListener("change", () => setRate(Number(by("rate").value)));
by("stamp").addEventListener("change", () => {
  source.stamped = by("stamp").checked;
});
cloud.addEventListener("change", ({ detail }) => {
  nameMachine(detail);
  pictures.setAway(Boolean(detail.app_id) && detail.stage === "live");
});
picker.addEventListener("change", () => {
  drawParameters();
  if (picker.mode === "video") change({ input_source: picker.inputSource });
});
share.addEventListener("change", ({ detail }) => change(detail));
figures.addEventListener("silence", lose);
figures.addEventListener("metrics", ({ detail }) => recording.reflect(detail.metrics.recordings, detail.id));
prompts.addEventListener("change", ({ detail }) => change(detail));
pictures.addEventListener("change", ({ detail }) => change(detail));
parameters.addEventListener("change", ({ detail }) => change(detail));
stillness.addEventListener("change", () => {
  source.resting = stillness.matches && !isBusy();
});
// Closing the page ends the session at once instead of after the server's patience.
addEventListener("pagehide", () => {
  if (isBusy()) stop();
});
addEventListener("unhandledrejection", ({ reason }) => {
  if (reason?.name !== "AbortError") sayError(reason);
});
bindKeys({
  s: () => (isBusy() ? stop() : start()),
  p: togglePause,
  "/": () => prompts.focus(),
  v: () => viewer.swapView(),
  f: () => viewer.toggleFullScreen(),
  c: () => viewer.saveStill(),
  r: () => recording.toggle(),
});

api.takeTokenFromAddress();
if (new URLSearchParams(location.search).get("transport") === "socket") api.carryBy(socketFetch());
begin();
