// The worker of a page without a server: the model, and the streams of the page.

import { Detector, Model, ModelError, top } from "../movinet/index.mjs";

/** Beside the page. */
const MODEL = new URL("../model.mvn", import.meta.url);
/** Seconds between two states that a stream keeps to go back to. */
const KEEP_EVERY = 2.5;

let model = null;
let made = 0;
/** @type {Map<number, Session>} */
const sessions = new Map();

/** A stream, its events, and some of its past states. */
class Session {
  /** @type {{number: number | null, snapshot: Uint8Array, events: object}[]} oldest first */
  #kept = [];

  constructor(id, { half_life: halfLife = 5, rewind = 0, top: count = 5 }) {
    this.id = id;
    this.options = { rewind, top: count };
    this.halfLife = halfLife;
    this.number = null;
    this.stream = model.stream(halfLife ?? undefined);
    this.detector = new Detector(model.labels);
  }

  get info() {
    const { labels, frameRate, manifest } = model;
    return {
      id: this.id,
      model: manifest.name,
      labels,
      frame_rate: frameRate,
      image_size: manifest.input.image_size,
      half_life: this.halfLife,
      rewind: this.options.rewind,
      number: this.number,
      time: this.number === null ? null : this.number / frameRate,
      sequence: null,
    };
  }

  async see({ sequence, number, width, height, data }) {
    if (number <= (this.number ?? -1)) return { sequence, skipped: true };
    const began = performance.now();
    const missed = number - (this.number ?? number - 1) - 1;
    const probabilities = await this.stream.step({ width, height, data }, { missed });
    const time = number / model.frameRate;
    const events = this.detector.update(time, probabilities);
    this.number = number;
    this.#keep(time);
    return {
      sequence,
      number,
      time,
      age: (performance.now() - began) / 1000,
      dropped: 0,
      gap: missed,
      top: top(probabilities, model.labels, this.options.top).map(([label, probability]) => {
        return { label, probability };
      }),
      events: events.map(({ kind, event }) => ({ kind, ...event })),
    };
  }

  setHalfLife(seconds) {
    this.stream.setHalfLife(seconds ?? undefined);
    this.halfLife = seconds;
  }

  reset() {
    this.stream.reset();
    this.#begin(null);
  }

  restore(file) {
    this.stream.restore(file);
    this.#begin(this.stream.frameCount ? this.stream.frameCount - 1 : null);
  }

  /** Go back to the newest kept state that is old enough. */
  rewind(seconds) {
    const latest = (this.number ?? 0) / model.frameRate - seconds;
    const at = this.#kept.findLastIndex(({ number }) => number / model.frameRate <= latest);
    if (at < 0) throw new ModelError(`nothing is kept from ${seconds} s ago`);
    const { number, snapshot, events } = this.#kept[at];
    this.stream.restore(snapshot);
    this.detector.restore(events);
    this.number = number;
    this.#kept.splice(at + 1);
  }

  /** Continue where another stream is. */
  follow(other) {
    this.stream.restore(other.stream.snapshot());
    this.detector.restore(other.detector.state());
    this.number = other.number;
  }

  #begin(number) {
    this.detector = new Detector(model.labels);
    this.number = number;
    this.#kept = [];
  }

  #keep(time) {
    if (!this.options.rewind) return;
    const last = this.#kept.at(-1);
    if (last && time - last.number / model.frameRate < KEEP_EVERY) return;
    const { number, stream, detector } = this;
    this.#kept.push({ number, snapshot: stream.snapshot(), events: detector.state() });
    const oldest = time - this.options.rewind - KEEP_EVERY;
    while (this.#kept[0].number / model.frameRate < oldest) this.#kept.shift();
  }
}

function session(id) {
  const found = sessions.get(id);
  if (found === undefined) throw new ModelError("the page does not have this stream");
  return found;
}

function open(options) {
  made += 1;
  const opened = new Session(made, options);
  sessions.set(made, opened);
  return opened;
}

const actions = {
  async models() {
    model ??= await Model.load(MODEL);
    const { labels, frameRate, manifest, kernels } = model;
    const { name, input, origin = "", notes = [] } = manifest;
    const size = { image_size: input.image_size, frame_rate: frameRate };
    return [{ name, labels, ...size, origin, notes, kernels }];
  },
  stream: (id) => session(id).info,
  create: (options) => open(options).info,
  fork(id, changes) {
    const from = session(id);
    const fork = open({ ...from.options, ...changes });
    fork.follow(from);
    return fork.info;
  },
  reset(id) {
    session(id).reset();
    return session(id).info;
  },
  rewind(id, seconds) {
    session(id).rewind(seconds);
    return session(id).info;
  },
  snapshot: (id) => session(id).stream.snapshot(),
  restore(id, file) {
    session(id).restore(new Uint8Array(file));
    return session(id).info;
  },
  setHalfLife(id, seconds) {
    session(id).setHalfLife(seconds);
  },
  end(id) {
    session(id).stream.close();
    sessions.delete(id);
  },
};

async function follow({ call, name, args }) {
  try {
    self.postMessage({ call, value: await actions[name](...args) });
  } catch (error) {
    self.postMessage({ call, reason: error.message, status: 422 });
  }
}

async function see(frame) {
  const { id, sequence } = frame;
  try {
    const result = await session(id).see(frame);
    self.postMessage({ id, result });
  } catch (error) {
    self.postMessage({ id, result: { sequence, reason: error.message } });
  }
}

/** One after the other: a step must be done before the next begins. */
let last = Promise.resolve();
self.onmessage = ({ data }) => {
  last = last.then(() => (data.frame ? see(data.frame) : follow(data)));
};
