// The events of a stream, newest first.

import { moment, percent, seconds } from "./words.js";

/** Events that are listed at most. */
const MOST = 50;

/** A list of events, and who is told of them. */
export class EventList {
  #list;
  #none;
  #say;
  #rows = new Map();

  /**
   * @param {HTMLOListElement} list
   * @param {HTMLElement} none Shown as long as there are none.
   * @param {(text: string) => void} say Tells those who do not see the page.
   */
  constructor(list, none, say) {
    this.#list = list;
    this.#none = none;
    this.#say = say;
  }

  /**
   * What the server reports.
   *
   * @param {{kind: "new" | "update" | "end", id: number, label: string, start: number, end: number,
   *   peak: number}[]} changes
   */
  add(changes) {
    for (const change of changes) {
      const row = this.#rows.get(change.id) ?? this.#make(change.id);
      this.#fill(row, change);
      const { kind, label, start, end } = change;
      if (kind === "new") this.#say(`${label} begins at ${moment(start)}`);
      if (kind === "end") this.#say(`${label} ended after ${seconds(end - start)}`);
      if (kind === "end") this.#rows.delete(change.id);
    }
  }

  /** Nothing lasts any more: the stream was reset. */
  forget() {
    for (const row of this.#rows.values()) {
      row.classList.remove("lasting");
      row.children[1].textContent += " (cut off)";
    }
    this.#rows.clear();
  }

  #make(id) {
    const row = document.createElement("li");
    for (const name of ["event-label", "event-time"]) {
      const part = document.createElement("span");
      part.className = name;
      row.append(part);
    }
    this.#rows.set(id, row);
    this.#list.prepend(row);
    this.#none.hidden = true;
    while (this.#list.children.length > MOST) this.#list.lastElementChild.remove();
    return row;
  }

  #fill(row, { kind, label, start, end, peak }) {
    const lasting = kind !== "end";
    row.classList.toggle("lasting", lasting);
    row.children[0].textContent = label;
    row.children[1].textContent = lasting
      ? `since ${moment(start)}`
      : `${moment(start)} to ${moment(end)}, at most ${percent(peak)}`;
  }
}
