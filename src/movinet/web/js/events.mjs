// Probabilities over time to events, as movinet.events finds them in Python: the same rules, the
// same reports at the same times.

import { ModelError } from "./errors.mjs";

/** When an event of a class begins and ends; seconds, and probabilities `off` <= `on`. */
export const DEFAULT_RULE = Object.freeze({
  on: 0.6,
  off: 0.4,
  smoothing: 0,
  shortest: 1,
  merge: 1,
  dead: 0,
  break_after: 10,
  update: 5,
});
const LEAST = 1e-6;
const SLACK = 1e-9;
const MOST_SECONDS = 86_400;

function checkedRule(fields) {
  const rule = { ...DEFAULT_RULE, ...fields };
  for (const [name, value] of Object.entries(rule)) {
    if (!(name in DEFAULT_RULE)) throw new ModelError(`a rule has no ${name}`);
    if (typeof value !== "number" || !Number.isFinite(value)) {
      throw new ModelError(`${name} must be a number, not ${value}`);
    }
    const time = name !== "on" && name !== "off";
    if (time && !(value >= 0 && value <= MOST_SECONDS)) {
      throw new ModelError(`${name} must be 0 to ${MOST_SECONDS} seconds, not ${value}`);
    }
  }
  if (!(rule.off > 0 && rule.off <= rule.on && rule.on < 1)) {
    throw new ModelError("on and off must be probabilities with 0 < off <= on < 1");
  }
  return rule;
}

/** Finds events in one stream of probabilities. */
export class Detector {
  #labels;
  #rules;
  #exclusive;
  #odds = null;
  #time = null;
  #tracks = new Map();
  #free = new Map();

  /**
   * @param {string[]} labels
   * @param {{default?: object | null, classes?: object, exclusive?: boolean}} [rules] `default` of
   *   every class without a rule in `classes`, null for none; `exclusive`: one event at a time.
   */
  constructor(labels, { default: general = {}, classes = {}, exclusive = false } = {}) {
    for (const label of Object.keys(classes)) {
      if (!labels.includes(label)) throw new ModelError(`the model has no class ${label}`);
    }
    this.#labels = labels;
    this.#exclusive = exclusive;
    this.#rules = labels.map((label) => {
      const own = Object.hasOwn(classes, label) ? classes[label] : null;
      if (own === null && general === null) return null;
      return checkedRule({ ...general, ...own });
    });
  }

  /**
   * See the probabilities at a time, which is later than the one before.
   *
   * @param {number} time Seconds in the stream.
   * @param {ArrayLike<number>} probabilities
   * @returns {{kind: "new" | "update" | "end", event: object}[]}
   */
  update(time, probabilities) {
    if (probabilities.length !== this.#labels.length) {
      throw new ModelError(`${probabilities.length} probabilities for ${this.#labels.length} classes`);
    }
    if (!Number.isFinite(time) || (this.#time !== null && time <= this.#time)) {
      throw new ModelError(`expected a time after ${this.#time} s, got ${time} s`);
    }
    const changes = this.#time === null ? [] : this.#break(time);
    let smooth = this.#smooth(time, probabilities);
    this.#time = time;
    if (this.#exclusive) {
      const most = Math.max(...smooth);
      smooth = smooth.map((value) => (value === most ? value : 0));
    }
    smooth.forEach((value, number) => {
      const rule = this.#rules[number];
      if (rule !== null && (value >= rule.on || this.#tracks.has(number))) {
        changes.push(...this.#see(number, time, value));
      }
    });
    return changes;
  }

  /** End every event, since the stream has ended. */
  finish(time = 0) {
    const end = Math.max(this.#time ?? 0, time);
    return this.#open().flatMap((number) => this.#close(number, end));
  }

  /** Everything that it carries, for `restore`. */
  state() {
    const tracks = [...this.#tracks].map(([number, track]) => [number, { ...track }]);
    const odds = this.#odds && [...this.#odds];
    return { odds, time: this.#time, tracks, free: [...this.#free] };
  }

  /** Continue from what `state` gave for the same classes and rules. */
  restore({ odds, time, tracks, free }) {
    this.#odds = odds && [...odds];
    this.#time = time;
    this.#tracks = new Map(tracks.map(([number, track]) => [number, { ...track }]));
    this.#free = new Map(free);
  }

  #open() {
    return [...this.#tracks.keys()].sort((one, other) => one - other);
  }

  #smooth(time, probabilities) {
    const odds = Array.from(probabilities, (value) => {
      const cut = Math.min(Math.max(value, LEAST), 1 - LEAST);
      return Math.log(cut) - Math.log1p(-cut);
    });
    if (this.#odds !== null) {
      odds.forEach((value, number) => {
        const constant = this.#rules[number]?.smoothing ?? 0;
        const weight = constant > 0 ? -Math.expm1((this.#time - time) / constant) : 1;
        odds[number] = this.#odds[number] + weight * (value - this.#odds[number]);
      });
    }
    this.#odds = odds;
    return odds.map((value) => 1 / (1 + Math.exp(-value)));
  }

  /** End what a gap in the stream ends, at the last frame before it. */
  #break(time) {
    const ended = this.#open().filter((n) => time - this.#time > this.#rules[n].break_after);
    return ended.flatMap((number) => this.#close(number, this.#time));
  }

  #see(number, time, value) {
    const rule = this.#rules[number];
    const changes = [];
    let track = this.#tracks.get(number);
    if (track !== undefined && track.stop !== null) {
      if (time - track.stop >= rule.merge - SLACK) {
        changes.push(...this.#close(number, track.stop));
        track = undefined;
      } else if (value >= rule.on) {
        // It goes on after a short gap.
        track.total += track.lateTotal;
        track.count += track.lateCount;
        Object.assign(track, { stop: null, lateTotal: 0, lateCount: 0 });
      }
    }
    if (track === undefined) {
      const free = this.#free.get(number) ?? -Infinity;
      if (value < rule.on || time < free - SLACK) return changes;
      track = { start: time, stop: null, peak: 0, peakTime: 0, total: 0, count: 0 };
      Object.assign(track, { lateTotal: 0, lateCount: 0, reported: null });
      this.#tracks.set(number, track);
    }
    if (track.stop === null && value < rule.off) track.stop = time;
    if (track.stop !== null) {
      track.lateTotal += value;
      track.lateCount += 1;
      if (rule.merge === 0) return [...changes, ...this.#close(number, track.stop)];
      return [...changes, ...this.#report(number, time)];
    }
    track.total += value;
    track.count += 1;
    if (value > track.peak) Object.assign(track, { peak: value, peakTime: time });
    return [...changes, ...this.#report(number, time)];
  }

  /** That an event is certain, or how it stands. */
  #report(number, time) {
    const rule = this.#rules[number];
    const track = this.#tracks.get(number);
    const end = track.stop ?? time;
    if (track.reported === null) {
      if (end - track.start < rule.shortest - SLACK) return [];
      track.reported = time;
      return [{ kind: "new", event: this.#event(number, end) }];
    }
    if (track.stop === null && time - track.reported >= rule.update - SLACK) {
      track.reported = time;
      return [{ kind: "update", event: this.#event(number, end) }];
    }
    return [];
  }

  #close(number, latest) {
    const rule = this.#rules[number];
    const track = this.#tracks.get(number);
    const end = track.stop ?? latest;
    const changes = [];
    if (track.reported === null && end - track.start >= rule.shortest - SLACK) {
      track.reported = end;
      changes.push({ kind: "new", event: this.#event(number, end) });
    }
    if (track.reported !== null) {
      changes.push({ kind: "end", event: this.#event(number, end) });
      this.#free.set(number, end + rule.dead);
    }
    this.#tracks.delete(number);
    return changes;
  }

  #event(number, end) {
    const { start, peak, peakTime, total, count } = this.#tracks.get(number);
    return {
      id: `${number}-${Math.round(start * 1000)}`,
      label: this.#labels[number],
      start,
      end,
      peak,
      peak_time: peakTime,
      mean: total / count,
    };
  }
}
