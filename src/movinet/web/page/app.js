// The page: what its buttons do.

import { Backend, SENTENCES } from "./backend.js";
import { Feed, Source } from "./capture.js";
import { Palette } from "./chart.js";
import { Tile } from "./tile.js";
import { Others } from "./wall.js";
import {
  halfLifeAt, halfLifeWords, placeOfHalfLife, Refusal, sentenceOfServer,
} from "./words.js";

const byId = (id) => document.getElementById(id);
/** Names in the storage of this tab. */
const TOKEN = "movinet.token";
const STREAMS = "movinet.streams";
/** Milliseconds between two drawings of the charts, and of the numbers. */
const DRAW = 80;
const CALM_DRAW = 500;
const FIGURES = 500;
/** Milliseconds that a file waits for its streams. */
const CONNECT = 3_000;
/** What is asked of the server for a new stream. */
const WISHES = { half_life: 5, rewind: 15, top: 10 };

const server = new Backend(new URL(".", document.baseURI).href, remembered(TOKEN));
const palette = new Palette();
const source = new Source(byId("video"), prepare);
/** @type {Tile[]} */
const tiles = [];
const feed = new Feed(source, () => tiles.filter(({ own }) => own).map(({ stream }) => stream));
const others = new Others(server, byId("others"), byId("others-list"), watch);
let counted = 0;
let forked = null;

/** What this tab keeps; nothing if the browser keeps nothing. */
function remembered(name) {
  try {
    return sessionStorage.getItem(name) ?? "";
  } catch {
    return "";
  }
}

function remember(name, value) {
  try {
    if (value) sessionStorage.setItem(name, value);
    else sessionStorage.removeItem(name);
  } catch {
    return;
  }
}

function rememberStreams() {
  remember(STREAMS, tiles.filter(({ own }) => own).map(({ info }) => info.id).join(" "));
}

function notice(text = "") {
  if (byId("notice").textContent === text) return; // or it would be read out again
  byId("notice").textContent = text;
  byId("notice").hidden = !text;
}

/** Tell those who do not see the page. */
function say(text) {
  byId("said").textContent = text;
}

/** Do something that the server may refuse; null if it did. */
async function attempt(what, work) {
  try {
    const done = await work();
    notice();
    return done;
  } catch (error) {
    if (error.status === 401) askToken();
    else if (error.status !== undefined) notice(sentenceOfServer(error, what));
    else throw error;
    return null;
  }
}

function askToken() {
  const wrong = server.token !== "";
  notice(wrong ? "The server does not take this token: type it again." : "");
  byId("token").hidden = false;
  byId("app").hidden = true;
  byId("token-field").focus();
}

async function begin() {
  const models = await attempt("The page cannot start", () => server.models());
  if (models === null) {
    if (byId("token").hidden) setTimeout(begin, 2_000);
    return;
  }
  byId("token").hidden = true;
  byId("app").hidden = false;
  showModels(models);
  for (const id of remembered(STREAMS).split(" ").filter(Boolean)) await takeUp(id);
  for (const tile of tiles) tile.stream.open();
  rememberStreams();
  others.start(() => new Set(tiles.map(({ info }) => info.id)));
}

function showModels(models) {
  const select = byId("model");
  select.replaceChildren(
    ...models.map(({ name, labels, image_size: size }) => {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = `${name} (${labels.length} classes, ${size} px)`;
      return option;
    }),
  );
  byId("model-choice").hidden = models.length < 2;
  select.onchange = () => showCard(models.find(({ name }) => name === select.value));
  showCard(models[0]);
}

/** What the chosen model is. */
function showCard({ name, labels, image_size: size, frame_rate: rate, origin, notes }) {
  byId("card-model").textContent =
    `${name}: ${labels.length} classes, ${size} × ${size} pixels, ${Number(rate.toPrecision(3))} ` +
    `frames a second.${origin ? ` Weights: ${origin}.` : ""}`;
  byId("card-notes").textContent = notes.join(" ");
  byId("card-labels").textContent = labels.join(", ");
  byId("card").hidden = false;
}

/** A stream that this tab had before it was loaded again. */
async function takeUp(id) {
  if (tiles.some(({ info }) => info.id === id)) return;
  try {
    add(await server.stream(id), { own: true });
  } catch {
    return; // it has ended
  }
}

async function make(changes = {}) {
  const wishes = { ...WISHES, model: byId("model").value, ...changes };
  const info = await attempt("No stream was made", () => server.create(wishes));
  return info && add(info, { own: true });
}

async function watch(info) {
  add(info, { own: false });
}

function add(info, { own, about = "", before = null, history = undefined }) {
  counted += 1;
  const name = own ? `Stream ${counted}: ${info.model}${about}` : `Watched ${counted}: ${info.model}`;
  const tile = new Tile(server, info, palette, { name, own, say, history });
  tiles.push(tile);
  byId("tiles").insertBefore(tile.element, before);
  tile.addEventListener("ready", () => feed.adjust());
  tile.addEventListener("token", askToken);
  tile.addEventListener("fork", () => askFork(tile));
  tile.addEventListener("ended", () => remove(tile));
  tile.addEventListener("anew", () => replace(tile));
  rememberStreams();
  others.show();
  return tile;
}

function remove(tile) {
  const at = tiles.indexOf(tile);
  if (at < 0) return;
  const focused = tile.element.contains(document.activeElement);
  tile.remove();
  tiles.splice(at, 1);
  if (focused) byId("new").focus();
  rememberStreams();
  feed.adjust();
  others.show();
}

/** A new stream in the place of one that is gone. */
async function replace(tile) {
  const made = await make({ model: tile.info.model, half_life: tile.halfLife });
  if (made === null) return;
  tile.element.before(made.element);
  remove(tile);
}

function askFork(tile) {
  forked = tile;
  const slider = byId("fork-half-life");
  // Another one than the stream's own, or the fork shows the same.
  const other = tile.halfLife === null ? 5 : tile.halfLife * 4;
  slider.value = Math.round(placeOfHalfLife(other));
  showForkHalfLife();
  byId("fork").showModal();
}

function showForkHalfLife() {
  const words = halfLifeWords(halfLifeAt(byId("fork-half-life").valueAsNumber));
  byId("fork-shown").value = words;
  byId("fork-half-life").setAttribute("aria-valuetext", words);
}

async function fork() {
  byId("fork").close();
  const tile = forked;
  const halfLife = halfLifeAt(byId("fork-half-life").valueAsNumber);
  const info = await attempt("The stream was not forked", () =>
    server.fork(tile.info.id, { half_life: halfLife }),
  );
  if (info === null) return;
  const number = tile.name.match(/\d+/)?.[0];
  const { history } = tile;
  add(info, { own: true, about: `, fork of ${number}`, before: tile.element.nextSibling, history });
}

/** Start a source. */
async function start(work) {
  notice();
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    notice(error.message);
  }
}

/** Streams that have seen nothing yet, for a source that starts. */
async function prepare() {
  const own = tiles.filter((tile) => tile.own && tile.stream.state !== "ended");
  await Promise.all(own.map((tile) => tile.startSource()));
  if (!own.length) own.push(await make());
  await Promise.all(own.map((tile) => tile?.connected(CONNECT)));
  feed.adjust();
}

async function showCameras() {
  const running = source.kind === "camera";
  const cameras = running ? await source.cameras() : [];
  byId("device").replaceChildren(
    ...cameras.map(({ id, name }) => {
      const option = document.createElement("option");
      option.value = id;
      option.textContent = name;
      return option;
    }),
  );
  byId("device").value = source.device;
  byId("device-choice").hidden = cameras.length < 2;
}

function showSource() {
  const names = { camera: "Camera", screen: "Screen", file: "File" };
  byId("source-name").textContent = source.kind ? `${names[source.kind]}: ${source.name}` : "";
  byId("stop").hidden = source.kind === null;
  byId("empty").hidden = source.kind !== null;
  for (const kind of Object.keys(names)) {
    byId(kind).setAttribute("aria-pressed", String(source.kind === kind));
  }
  feed.adjust();
  showCameras();
}

async function openFiles([file, ...more]) {
  if (!file) return;
  await start(() => source.file(file));
  if (more.length) notice(`Only ${file.name} is played: one file at a time.`);
}

function connectButtons() {
  byId("camera").addEventListener("click", () => start(() => source.camera()));
  byId("device").addEventListener("change", () => start(() => source.camera(byId("device").value)));
  byId("screen").addEventListener("click", () => start(() => source.screen()));
  byId("file").addEventListener("click", () => byId("file-field").click());
  byId("file-field").addEventListener("change", () => {
    const files = [...byId("file-field").files];
    byId("file-field").value = ""; // or the same file would not be a change
    openFiles(files);
  });
  byId("stop").addEventListener("click", () => source.stop());
  byId("new").addEventListener("click", () => make());
  byId("token").addEventListener("submit", (event) => {
    event.preventDefault();
    const token = byId("token-field").value.trim();
    if (!/^[\x21-\x7e]+$/.test(token)) {
      notice("A token has only letters, digits and signs of ASCII: type it again.");
      return;
    }
    server.token = token;
    byId("token-field").value = "";
    remember(TOKEN, token);
    begin();
  });
  byId("fork-half-life").addEventListener("input", showForkHalfLife);
  byId("fork-cancel").addEventListener("click", () => byId("fork").close());
  byId("fork-form").addEventListener("submit", (event) => {
    event.preventDefault();
    fork();
  });
}

function connectDrops() {
  const { classList } = document.body;
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    classList.remove("dropping");
    const files = [...event.dataTransfer.files];
    if (files.length) openFiles(files);
    else notice("What was dropped is not a file: drop a video of this computer.");
  });
}

function keepDrawing() {
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let drawn = 0;
  const draw = (now) => {
    if (now - drawn >= (calm.matches ? CALM_DRAW : DRAW)) {
      drawn = now;
      for (const tile of tiles) tile.draw();
    }
    requestAnimationFrame(draw);
  };
  requestAnimationFrame(draw);
  setInterval(() => tiles.forEach((tile) => tile.drawFigures()), FIGURES);
}

const needed = [window.Worker, window.HTMLDialogElement, window.AbortSignal?.timeout];
if (needed.some((each) => each === undefined)) {
  byId("old").hidden = false;
} else {
  source.addEventListener("change", showSource);
  source.addEventListener("failed", ({ detail }) => notice(detail));
  addEventListener("online", () => tiles.forEach(({ stream }) => stream.state === "waiting" && stream.open()));
  for (const [name, text] of Object.entries(SENTENCES)) {
    const places = [document, byId("tile").content];
    for (const place of places.flatMap((each) => [...each.querySelectorAll(`[data-say=${name}]`)])) {
      place.textContent = text;
    }
  }
  connectButtons();
  connectDrops();
  keepDrawing();
  begin();
}
