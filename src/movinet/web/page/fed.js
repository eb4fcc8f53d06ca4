// What streams have in common that a page feeds, whatever computes them. No DOM.

import { Flow } from "./flow.js";

/**
 * @typedef {"idle" | "connecting" | "open" | "waiting" | "ended"} State "waiting" tries again by
 *   itself; "ended" does not.
 */

/** A stream with the pictures on their way to it. Names with _ are for those that extend it. */
export class FedStream extends EventTarget {
  _flow = new Flow();
  #held = 0;

  /** @param {string} id */
  constructor(id) {
    super();
    this.id = id;
    /** @type {State} */
    this.state = "idle";
    /** What the stream is, as it said when it was opened last; null before the first time. */
    this.hello = null;
    /** Tick of the last frame that the model has seen; null for none. */
    this.number = null;
    /** Frames that newer ones replaced where they are seen, since this object watches. */
    this.dropped = 0;
    /** Ticks without a frame, since this object watches. */
    this.missed = 0;
    /** How often an open connection was lost. */
    this.breaks = 0;
  }

  /** Frames not sent because two were unanswered, or that there was no tick for. */
  get skipped() {
    return this._flow.skipped;
  }

  /** Frames that were not answered, or refused. */
  get lost() {
    return this._flow.lost;
  }

  /**
   * Whether a frame of a time is to be sent; ask once for each frame.
   *
   * @param {number} time Seconds of the source, which only grow. The stream's own clock goes on
   *   from where it is.
   */
  takes(time) {
    if (this.state !== "open" || this.hello === null || this.#held) return false;
    return this._flow.takes(time, this.hello.frame_rate, this.number);
  }

  /** Whether a frame that `takes` has agreed to can still be sent. */
  get _sends() {
    return this.state === "open" && this.hello !== null && this._flow.started && !this.#held;
  }

  /** The tick of a time of the source. */
  _tickOf(time) {
    return Math.max(0, this._flow.tickOf(time, this.hello.frame_rate));
  }

  /**
   * Do something while no frame is on its way: one of the old clock would spoil the new.
   *
   * @param {() => Promise<{time: number | null, frame_rate: number}>} change
   */
  async _between(change) {
    this.#held += 1;
    try {
      await this._flow.settle();
      const { time, frame_rate: rate } = await change();
      this.number = time === null ? null : Math.round(time * rate);
      this._flow.restart();
    } finally {
      this.#held -= 1;
    }
  }

  _become(state, why = null, reason = "", delay = 0) {
    this.state = state;
    this._emit("state", { state, why, reason, delay });
  }

  _emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
