// Honest numbers of a stream: what the last seconds were like.

/** Milliseconds that count. */
const WINDOW = 5_000;

/** Latency, age and rate of the last five seconds. */
export class Figures {
  #results = [];

  /** @param {{latency: number | null, age: number}} result age in seconds. */
  add({ latency, age }, at = performance.now()) {
    this.#results.push({ at, latency, age: 1000 * age });
  }

  /** Medians in milliseconds, null for none, and results a second. */
  read(now = performance.now()) {
    while (this.#results.length && now - this.#results[0].at > WINDOW) this.#results.shift();
    const found = this.#results;
    const first = found[0]?.at ?? now;
    // At the start, over the time that there is.
    const span = Math.max(1_000, Math.min(WINDOW, now - first + 1));
    const latencies = found.map(({ latency }) => latency).filter((each) => each !== null);
    return {
      rate: (1000 * found.length) / span,
      latency: median(latencies),
      slowest: latencies.length ? Math.max(...latencies) : null,
      age: median(found.map(({ age }) => age)),
    };
  }
}

function median(values) {
  if (!values.length) return null;
  return values.toSorted ? values.toSorted(by)[values.length >> 1] : [...values].sort(by)[values.length >> 1];
}

function by(one, other) {
  return one - other;
}
