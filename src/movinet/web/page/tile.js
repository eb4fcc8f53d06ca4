// One stream on the wall.

import { Stream } from "./backend.js";
import { drawChart, History, LEAST } from "./chart.js";
import { EventList } from "./events.js";
import { Figures } from "./figures.js";
import {
  HALF_LIFE_PLACES, halfLifeAt, halfLifeWords, milliseconds, moment, percent, placeOfHalfLife,
  seconds, sentenceOfServer,
} from "./words.js";

const BARS = 5;
/** Seconds that "Rewind" goes back. */
const BACK = 5;
/** Actions of a stream that another page feeds. */
const FOR_WATCHERS = ["save", "end"];
/** Milliseconds between two changes of the half-life while the slider is moved. */
const SLIDER_PAUSE = 100;
const STATES = {
  idle: "",
  connecting: "Connecting…",
  open: "Connected",
};

let made = 0;

/**
 * A tile; it sends the events "ended" (it is to be removed), "fork", "anew" (a new stream is wanted
 * in its place) and "token" (the server needs one).
 */
export class Tile extends EventTarget {
  #server;
  #palette;
  #history;
  #figures = new Figures();
  #events;
  #parts;
  #bars = [];
  #latest = null;
  #slider = 0;
  #fed = false;

  /**
   * @param {import("./backend.js").Backend} server
   * @param {{id: string, model: string, half_life: number | null}} info Of the stream.
   * @param {import("./chart.js").Palette} palette
   * @param {{name: string, own: boolean, say: (text: string) => void, history?: History}} options
   *   own: this page feeds it. history: of the stream that it is a fork of.
   */
  constructor(server, info, palette, { name, own, say, history = new History() }) {
    super();
    this.#history = history;
    this.#server = server;
    this.#palette = palette;
    this.info = info;
    this.name = name;
    this.own = own;
    const template = document.getElementById("tile");
    this.element = template.content.firstElementChild.cloneNode(true);
    const find = (selector) => this.element.querySelector(selector);
    this.#parts = {
      title: find("h3"), state: find(".state"), offer: find(".offer"), notice: find(".notice"),
      label: find(".best-label"), share: find(".best-share"), bars: find(".bars"),
      chart: find(".chart"), slider: find("input[type=range]"), shown: find("output"),
      file: find("input[type=file]"),
    };
    this.#events = new EventList(find(".events"), find(".no-events"), (text) => say(`${name}: ${text}`));
    this.stream = new Stream(server, info.id);
    this.#build();
    this.#listen();
    this.stream.open();
  }

  /** Half-life now, seconds; null for the mean of all. */
  get halfLife() {
    return this.info.half_life;
  }

  /** What the chart shows, for a fork. */
  get history() {
    return this.#history.copy();
  }

  /** Draw what has changed; called as often as the page is drawn. */
  draw() {
    if (this.#latest !== null) {
      this.#drawBars(this.#latest);
      this.#latest = null;
    }
    drawChart(this.#parts.chart, this.#history, this.#palette);
  }

  /** Show the numbers; called about twice a second. */
  drawFigures() {
    const { rate, latency, slowest, age } = this.#figures.read();
    const { skipped, dropped, lost, missed } = this.stream;
    const texts = {
      rate: rate.toFixed(1), latency: milliseconds(latency), slowest: milliseconds(slowest),
      age: milliseconds(age), skipped, dropped, missed, lost,
    };
    for (const part of this.element.querySelectorAll("[data-figure]")) {
      const text = String(texts[part.dataset.figure]);
      if (part.textContent !== text) part.textContent = text;
    }
  }

  /** A new source begins: what came from another is forgotten. */
  async startSource() {
    if (this.#fed) await this.#attempt("The stream was not reset", () => this.#reset());
  }

  /** Wait until it is connected, not for ever. */
  async connected(milliseconds) {
    if (this.stream.state === "open") return;
    await new Promise((resolve) => {
      this.stream.addEventListener("hello", resolve, { once: true });
      setTimeout(resolve, milliseconds);
    });
  }

  /** Leave the stream, and go from the wall. */
  remove() {
    clearTimeout(this.#slider);
    this.stream.close();
    this.element.remove();
  }

  /** Say something on the tile; nothing takes it away. */
  notice(text = "") {
    if (this.#parts.notice.textContent === text) return; // or it would be read out again
    this.#parts.notice.textContent = text;
    this.#parts.notice.hidden = !text;
  }

  #build() {
    const { title, slider, shown, file } = this.#parts;
    made += 1;
    title.id = `tile-${made}`;
    title.textContent = this.name;
    this.element.setAttribute("aria-labelledby", title.id);
    slider.id = `half-life-${made}`;
    slider.max = HALF_LIFE_PLACES;
    this.element.querySelector(".half-life label").htmlFor = slider.id;
    slider.addEventListener("input", () => this.#slide());
    shown.htmlFor = slider.id;
    this.#showHalfLife(this.info.half_life);
    this.element.querySelector(".half-life").hidden = !this.own;
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.#do(button.dataset.do));
      if (!this.own && button.closest(".actions") && !FOR_WATCHERS.includes(button.dataset.do)) {
        button.hidden = true;
      }
      if (!this.own && button.dataset.do === "end") button.textContent = "Stop watching";
    }
    file.addEventListener("change", () => this.#load());
    this.drawFigures();
  }

  #listen() {
    const { stream } = this;
    stream.addEventListener("state", ({ detail }) => this.#showState(detail));
    stream.addEventListener("hello", ({ detail }) => this.#greet(detail));
    stream.addEventListener("result", ({ detail }) => {
      this.#fed = true;
      this.#latest = detail;
      this.#history.add(detail.top);
      this.#figures.add(detail);
      this.#events.add(detail.events);
    });
    stream.addEventListener("events", ({ detail }) => this.#events.add(detail.events));
    stream.addEventListener("refused", ({ detail }) =>
      this.notice(`The server refused a frame or a change: ${detail.reason}.`),
    );
  }

  #greet(hello) {
    this.info.half_life = hello.half_life;
    this.#showHalfLife(hello.half_life);
    const rewind = this.element.querySelector("[data-do=rewind]");
    rewind.disabled = hello.rewind < BACK;
    rewind.title = rewind.disabled ? "This stream was made without rewind" : "";
    this.dispatchEvent(new Event("ready"));
  }

  #showState({ state, why, reason, delay }) {
    const { state: part, offer } = this.#parts;
    this.element.dataset.state = state;
    if (state === "waiting") {
      part.textContent = `Not connected: ${reason}. Next try in ${seconds(Math.max(1, delay / 1000))}.`;
    } else if (state === "ended") {
      part.textContent = this.#farewell(why, reason);
      if (why === "gone") this.#events.forget();
    } else {
      const { breaks } = this.stream;
      const before = state === "open" && breaks ? `; the connection was lost ${times(breaks)}` : "";
      part.textContent = STATES[state] + before;
    }
    offer.hidden = !(this.own && state === "ended" && ["gone", "closed"].includes(why));
    for (const button of this.element.querySelectorAll(".actions [data-do]:not([data-do=end])")) {
      if (button.dataset.do !== "rewind" || state !== "open") button.disabled = state !== "open";
    }
    this.#parts.slider.disabled = state !== "open";
    if (state === "ended" && why === "token") this.dispatchEvent(new Event("token"));
  }

  #farewell(why, reason) {
    const next = this.own ? "Start a new one." : "Stop watching it.";
    if (why === "gone") return `The server no longer has this stream. ${next}`;
    if (why === "closed") return `This stream was ended. ${next}`;
    if (why === "token") return "The server needs its token.";
    return why === "refused" ? `The server refuses this stream: ${reason}.` : "";
  }

  async #do(action) {
    this.notice();
    switch (action) {
      case "anew":
      case "fork":
        this.dispatchEvent(new Event(action));
        break;
      case "reset":
        await this.#attempt("The stream was not reset", () => this.#reset());
        break;
      case "rewind":
        await this.#rewind();
        break;
      case "save":
        await this.#attempt("No snapshot was saved", () => this.#save());
        break;
      case "load":
        this.#parts.file.click();
        break;
      case "end":
        if (this.own) await this.#end();
        else this.dispatchEvent(new Event("ended"));
    }
  }

  async #attempt(what, work) {
    try {
      await work();
    } catch (error) {
      if (error.status === 401) this.dispatchEvent(new Event("token"));
      this.notice(sentenceOfServer(error, what));
    }
  }

  async #reset() {
    await this.stream.reset();
    this.#fed = false;
    this.#events.forget();
  }

  async #rewind() {
    try {
      const { time } = await this.#server.rewind(this.info.id, BACK);
      this.notice(`The stream has forgotten what came after ${moment(time)}.`);
    } catch (error) {
      this.notice(
        error.status === 422
          ? `Nothing is kept from ${BACK} s ago yet: try again in some seconds.`
          : sentenceOfServer(error, "The stream was not rewound"),
      );
    }
  }

  async #save() {
    const blob = await this.#server.snapshot(this.info.id);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${this.info.model}-${new Date().toISOString().slice(0, 19).replaceAll(":", "")}.snapshot`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  async #load() {
    const [file] = this.#parts.file.files;
    this.#parts.file.value = "";
    if (!file) return;
    await this.#attempt(`${file.name} was not loaded`, async () => {
      await this.stream.restore(file);
      this.#fed = false; // the next source goes on from it
      this.#events.forget();
      this.notice(`The stream goes on from ${file.name}.`);
    });
  }

  async #end() {
    if (this.stream.state === "ended") {
      this.dispatchEvent(new Event("ended"));
      return;
    }
    await this.#attempt("The stream was not ended", async () => {
      this.stream.close();
      try {
        await this.#server.end(this.info.id);
      } catch (error) {
        if (error.status !== 404) {
          this.stream.open();
          throw error;
        }
      }
      this.dispatchEvent(new Event("ended"));
    });
  }

  #slide() {
    const value = halfLifeAt(this.#parts.slider.valueAsNumber);
    this.#showWords(value);
    clearTimeout(this.#slider);
    this.#slider = setTimeout(() => {
      if (this.stream.setHalfLife(value)) this.info.half_life = value;
    }, SLIDER_PAUSE);
  }

  #showHalfLife(value) {
    this.#parts.slider.value = placeOfHalfLife(value);
    this.#showWords(value);
  }

  #showWords(value) {
    this.#parts.shown.value = halfLifeWords(value);
    this.#parts.slider.setAttribute("aria-valuetext", halfLifeWords(value));
  }

  #drawBars({ top }) {
    const { bars, label, share } = this.#parts;
    label.textContent = top[0]?.label ?? "";
    share.textContent = top.length ? percent(top[0].probability) : "";
    for (const [index, each] of top.slice(0, BARS).entries()) {
      const bar = (this.#bars[index] ??= makeBar(bars));
      bar.name.textContent = each.label;
      bar.share.textContent = percent(each.probability);
      bar.fill.style.width = `${100 * each.probability}%`;
      const coloured = each.probability >= LEAST || this.#palette.has(each.label);
      bar.fill.dataset.slot = coloured ? this.#palette.slot(each.label) : "";
    }
    for (const bar of this.#bars.splice(Math.min(top.length, BARS))) bar.row.remove();
  }
}

function times(count) {
  return count === 1 ? "once" : `${count} times`;
}

function makeBar(list) {
  const row = document.createElement("li");
  const [name, share, track, fill] = ["name", "share", "track", "fill"].map((kind) => {
    const part = document.createElement("span");
    part.className = `bar-${kind}`;
    return part;
  });
  track.append(fill);
  row.append(name, share, track);
  list.append(row);
  return { row, name, share, fill };
}
