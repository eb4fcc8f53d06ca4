// The page: a model, a video, and what the one makes of the other, frame by frame.

import { Model, top } from "../../src/movinet/web/js/index.mjs";
import { colour, drawChart } from "./chart.mjs";

const find = (id) => document.getElementById(id);
const parts = new URLSearchParams(location.search);
const chosen = { model: null, video: null, engine: "own" };
let model = null;
let run = 0; // a newer run ends an older one

/** A model for what the page has chosen. */
async function loadModel() {
  const provider = find("provider").value;
  if (chosen.engine === "own") return Model.load(chosen.model);
  const name = provider === "webgpu" ? "onnxruntime-web/webgpu" : "onnxruntime-web";
  const runtime = await import(name);
  runtime.env.wasm.numThreads = 1; // more threads need headers that a plain server does not send
  return Model.load(chosen.model, { runtime, session: { executionProviders: [provider] } });
}

/** Frames of a video at a rate: the one on screen at every k / rate seconds. */
async function* framesOf(url, rate) {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", src: url });
  await happened(video, "loadeddata");
  const canvas = find("frame");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  for (let k = 0; k / rate < video.duration; k++) {
    // A little later: a frame's time may be rounded up to a millisecond in the file.
    video.currentTime = Math.min(k / rate + 0.001, video.duration);
    await happened(video, "seeked");
    context.drawImage(video, 0, 0);
    const image = context.getImageData(0, 0, canvas.width, canvas.height);
    yield { time: k / rate, duration: video.duration, image };
  }
}

function happened(video, event) {
  return new Promise((resolve, reject) => {
    video.addEventListener(event, resolve, { once: true });
    const refuse = () => reject(new Error(video.error?.message || "the video cannot be read"));
    video.addEventListener("error", refuse, { once: true });
  });
}

async function play(mine) {
  find("again").disabled = true;
  say("Loading the model …");
  model ??= await loadModel();
  const { labels, input, name } = model.manifest;
  const stream = model.stream();
  const history = [];
  const began = performance.now();
  let busy = 0;
  for await (const { time, duration, image } of framesOf(chosen.video, input.frame_rate)) {
    const start = performance.now();
    const probabilities = await stream.step(image);
    if (mine !== run) return;
    busy += performance.now() - start;
    history.push({ time, probabilities });
    showBest(probabilities, labels);
    drawChart(find("chart"), history, labels, duration);
    const each = (busy / history.length).toFixed(1);
    say(`${name}: ${history.length} frames, ${each} ms each with resizing`);
    await sleep(1000 * time - (performance.now() - began)); // not faster than the video
  }
  find("again").disabled = false;
  document.body.dataset.state = "done";
}

function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, Math.max(milliseconds, 0)));
}

function showBest(probabilities, labels) {
  const rows = top(probabilities, labels, 5).map(([label, share]) => {
    const row = document.createElement("li");
    const percent = `${(100 * share).toFixed(1)} %`;
    row.append(span(label), span(percent));
    row.style.setProperty("--share", percent.replace(" ", ""));
    row.style.setProperty("--colour", colour(labels.indexOf(label)));
    return row;
  });
  find("best").replaceChildren(...rows);
}

function span(text) {
  const element = document.createElement("span");
  element.textContent = text;
  return element;
}

function say(text) {
  find("status").textContent = text;
}

/** Play what is chosen, or say what is missing; every failure ends in one line. */
async function start() {
  const mine = ++run;
  document.body.dataset.state = "working";
  try {
    if (chosen.model === null) return say("Choose a model that movinet export wrote as .mvn or .onnx.");
    if (chosen.video === null) return say("Choose a video.");
    await play(mine);
  } catch (error) {
    if (mine !== run) return;
    find("again").disabled = chosen.video === null;
    document.body.dataset.state = "failed";
    say(`Error: ${error.message}`);
  }
}

/** A file of the server in memory: plain servers don't send the parts that seeking asks for. */
async function fetched(path) {
  const answer = path === null ? { ok: false } : await fetch(path);
  return answer.ok ? answer.blob() : null;
}

async function choose(kind, file) {
  if (file === null) return;
  if (kind === "video") chosen.video = URL.createObjectURL(file);
  else {
    [chosen.model, model] = [new Uint8Array(await file.arrayBuffer()), null];
    const start = new TextDecoder().decode(chosen.model.subarray(0, 4));
    chosen.engine = start === "MVN1" ? "own" : "onnx";
    find("provider").disabled = chosen.engine === "own";
  }
}

for (const kind of ["model", "video"]) {
  find(kind).addEventListener("change", async ({ target }) => {
    await choose(kind, target.files[0] ?? null);
    start();
  });
}
find("provider").addEventListener("change", () => {
  model = null;
  start();
});
find("again").addEventListener("click", start);

// ?model=...&video=...&provider=... begin at once.
find("provider").value = parts.get("provider") ?? "wasm";
await choose("model", await fetched(parts.get("model") ?? "motions.mvn"));
await choose("video", await fetched(parts.get("video")));
start();
