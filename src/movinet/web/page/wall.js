// The streams of other pages and programs, which can be watched here.

import { seconds } from "./words.js";

/** Milliseconds between two looks. */
const LOOK = 5_000;
/** Streams that are listed at most. */
const MOST = 20;

/** The list of streams that are not on this page. */
export class Others {
  #server;
  #section;
  #list;
  #watch;
  #known = () => new Set();
  #found = [];
  #timer = 0;

  /**
   * @param {import("./backend.js").Backend} server
   * @param {HTMLElement} section Hidden while there are none.
   * @param {HTMLUListElement} list
   * @param {(info: object) => void} watch Puts one on the wall.
   */
  constructor(server, section, list, watch) {
    this.#server = server;
    this.#section = section;
    this.#list = list;
    this.#watch = watch;
  }

  /** Look, now and from time to time. @param {() => Set<string>} known Ids on this page. */
  start(known) {
    this.#known = known;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#look(), LOOK);
    this.#look();
  }

  /** Show what was found and is not on this page. */
  show() {
    const known = this.#known();
    const found = this.#found.filter(({ id }) => !known.has(id));
    this.#section.hidden = found.length === 0;
    const rows = found.slice(0, MOST).map((info, at) => this.#row(info, this.#list.children[at]));
    if (found.length > MOST) {
      const more = document.createElement("li");
      more.textContent = `and ${found.length - MOST} more`;
      rows.push(more);
    }
    const old = [...this.#list.children];
    rows.forEach((row, at) => row !== old[at] && (old[at] ? old[at].replaceWith(row) : this.#list.append(row)));
    for (const row of old.slice(rows.length)) row.remove();
  }

  async #look() {
    if (document.hidden) return;
    try {
      this.#found = await this.#server.streams();
    } catch {
      return; // the tiles say that the server does not answer
    }
    this.show();
  }

  /** A row; the one there stays if it is of the same stream, or its button would lose the focus. */
  #row(info, there) {
    const row = there?.dataset.id === info.id ? there : this.#make(info);
    const time = info.time === null ? "no frame yet" : `${seconds(info.time)} long`;
    const watchers = info.listeners === 1 ? "1 connection" : `${info.listeners} connections`;
    row.firstElementChild.textContent = `${nameOf(info)}: ${time}, ${watchers}`;
    return row;
  }

  #make(info) {
    const row = document.createElement("li");
    row.dataset.id = info.id;
    const text = document.createElement("span");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Watch";
    button.setAttribute("aria-label", `Watch ${nameOf(info)}`);
    button.addEventListener("click", () => this.#watch(info));
    row.append(text, button);
    return row;
  }
}

/** What a stream is called: by the source that the server follows, if there is one. */
function nameOf({ model, id, source }) {
  return source === null ? `${model} ${id.slice(0, 5)}…` : `${source} (${model})`;
}
