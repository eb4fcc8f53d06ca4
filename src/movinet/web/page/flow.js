// Which pictures a stream takes: one a tick of its clock, and few at a time. No DOM.

/** Frames on their way; a newer one is skipped until one of them is answered. */
export const MOST_UNANSWERED = 2;
/** Milliseconds after which an unanswered frame counts as lost. */
const LOST_AFTER = 5_000;

/** The clock of a stream beside that of its source, and the frames that are on their way. */
export class Flow {
  /** Times of capture by sequence number, oldest first. */
  #unanswered = new Map();
  #tick = -1;
  /** Seconds of the source at the stream's 0; null until the next frame sets it. */
  #origin = null;

  constructor() {
    /** Frames not sent because too many were unanswered. */
    this.skipped = 0;
    /** Frames that were not answered, or refused. */
    this.lost = 0;
  }

  /** Whether a first frame was taken since the clock was set. */
  get started() {
    return this.#origin !== null;
  }

  get unanswered() {
    return this.#unanswered.size;
  }

  /**
   * Whether a frame of a time is to be sent; ask once for each frame.
   *
   * @param {number} time Seconds of the source, which only grow. The stream's own clock goes on
   *   from where it is.
   * @param {number} rate Ticks a second.
   * @param {number | null} seen The last tick that the model has seen.
   */
  takes(time, rate, seen) {
    const last = seen ?? -1;
    // Ticks up to the last one are seen already: of another page, or of a later clock.
    if (this.#origin === null || this.tickOf(time, rate) < last) {
      this.#origin = time - (last + 1) / rate;
      this.#tick = last;
    }
    const tick = this.tickOf(time, rate);
    if (tick <= this.#tick) return false;
    this.#tick = tick;
    this.#forgetLost();
    if (this.#unanswered.size < MOST_UNANSWERED) return true;
    this.skipped += 1;
    return false;
  }

  /** The tick of the stream at a time of the source. */
  tickOf(time, rate) {
    return Math.floor((time - this.#origin) * rate + 1e-6);
  }

  /** The next frame sets the clock. */
  restart() {
    this.#origin = null;
  }

  /** @param {number} captured When it was captured, by performance.now(). */
  sent(sequence, captured) {
    this.#unanswered.set(sequence, captured);
  }

  /** When a frame was captured; it and the ones before it are answered. */
  answer(sequence) {
    const captured = this.#unanswered.get(sequence);
    if (captured === undefined) return undefined;
    for (const older of [...this.#unanswered.keys()]) {
      this.#unanswered.delete(older);
      if (older === sequence) break;
    }
    return captured;
  }

  /** Nobody waits for what is on its way. */
  clear() {
    this.#unanswered.clear();
  }

  /** Wait until nothing is on its way, a second at most. */
  async settle() {
    const end = performance.now() + 1_000;
    while (this.#unanswered.size && performance.now() < end) await pause(10);
    this.#unanswered.clear();
  }

  #forgetLost() {
    const before = performance.now() - LOST_AFTER;
    for (const [sequence, captured] of this.#unanswered) {
      if (captured > before) break;
      this.#unanswered.delete(sequence);
      this.lost += 1;
    }
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
