// The classes of the last seconds, as lines on a canvas.

/** Seconds that are shown. */
export const SPAN = 30;
const COLOURS = 8;
const MARGIN = { left: 36, right: 6, top: 8, bottom: 20 };
/** The share at which a class gets a line and a colour, and lines at most. */
export const LEAST = 0.15;
const MOST_LINES = 5;
/** Milliseconds without a result after which a line breaks. */
const BREAK = 1_500;

/** Gives likely classes a colour, the same on all charts; the one used longest ago loses it. */
export class Palette {
  #slots = new Map();

  /** Whether a class has a colour. @param {string} label */
  has(label) {
    return this.#slots.has(label);
  }

  /** The number of a class's colour, from 0 to 7. @param {string} label */
  slot(label) {
    let slot = this.#slots.get(label);
    if (slot === undefined) {
      const taken = new Set(this.#slots.values());
      slot = [...Array(COLOURS).keys()].find((number) => !taken.has(number));
      if (slot === undefined) {
        const [oldest, number] = this.#slots.entries().next().value;
        this.#slots.delete(oldest);
        slot = number;
      }
    }
    this.#slots.delete(label);
    this.#slots.set(label, slot); // the last is the one used last
    return slot;
  }
}

/** What a stream's classes were, as long as the chart shows it. */
export class History {
  /** @type {{at: number, shares: Map<string, number>}[]} */
  points = [];

  /** The same points, for a stream that has seen the same. */
  copy() {
    const other = new History();
    other.points = [...this.points];
    return other;
  }

  /** @param {{label: string, probability: number}[]} top */
  add(top, at = performance.now()) {
    this.points.push({ at, shares: new Map(top.map(({ label, probability }) => [label, probability])) });
    const old = this.points.findIndex((point) => at - point.at <= 1000 * SPAN + BREAK);
    if (old > 0) this.points.splice(0, old);
  }

  /** The classes to draw, likeliest first, with where each was likeliest. */
  peaks(now) {
    const peaks = new Map();
    for (const { at, shares } of this.points) {
      if (now - at > 1000 * SPAN) continue;
      for (const [label, share] of shares) {
        if (share >= LEAST && share > (peaks.get(label)?.share ?? 0)) peaks.set(label, { at, share });
      }
    }
    return [...peaks].sort(([, a], [, b]) => b.share - a.share).slice(0, MOST_LINES);
  }
}

/**
 * Draw the lines.
 *
 * @param {HTMLCanvasElement} canvas Drawn at the size that it has on screen.
 * @param {History} history
 * @param {Palette} palette
 */
export function drawChart(canvas, history, palette) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width || !height) return;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const now = performance.now();
  const plot = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const x = (at) => MARGIN.left + plot.width * (1 - (now - at) / (1000 * SPAN));
  const y = (share) => MARGIN.top + plot.height * (1 - share);
  drawAxes(context, style, now, x, y);
  const peaks = history.peaks(now);
  context.save();
  context.beginPath();
  context.rect(MARGIN.left, 0, plot.width + MARGIN.right, height);
  context.clip();
  for (const [label] of peaks.toReversed?.() ?? [...peaks].reverse()) {
    context.strokeStyle = style.getPropertyValue(`--class-${palette.slot(label)}`);
    drawLine(context, history, label, x, y);
  }
  context.restore();
  drawNames(context, style, palette, peaks, x, y, width);
}

function drawAxes(context, style, now, x, y) {
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = style.getPropertyValue("--faint");
  context.strokeStyle = style.getPropertyValue("--line");
  context.lineWidth = 1;
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    const row = Math.round(y(share)) + 0.5;
    context.beginPath();
    context.moveTo(x(now - 1000 * SPAN), row);
    context.lineTo(x(now), row);
    context.stroke();
    context.fillText(`${100 * share}%`, MARGIN.left - 5, row);
  }
  context.textBaseline = "top";
  for (const [ago, align] of [[30, "left"], [20, "center"], [10, "center"], [0, "right"]]) {
    context.textAlign = align;
    context.fillText(ago ? `−${ago} s` : "now", x(now - 1000 * ago), y(0) + 6);
  }
}

function drawLine(context, history, label, x, y) {
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.beginPath();
  let before = null;
  for (const { at, shares } of history.points) {
    // A class that is not among the top ones has a share that nobody knows.
    const share = shares.get(label);
    if (share !== undefined) {
      if (before === null || at - before > BREAK) context.moveTo(x(at), y(share));
      else context.lineTo(x(at), y(share));
    }
    before = share === undefined ? null : at;
  }
  context.stroke();
}

/** Names beside the highest points, those that have room. */
function drawNames(context, style, palette, peaks, x, y, width) {
  context.font = "600 12px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.lineWidth = 4;
  context.strokeStyle = style.getPropertyValue("--card");
  const placed = [];
  for (const [label, { at, share }] of peaks) {
    const name = label.length > 28 ? `${label.slice(0, 27)}…` : label;
    const wide = context.measureText(name).width;
    const left = Math.min(Math.max(x(at) + 6, MARGIN.left + 4), width - MARGIN.right - wide - 2);
    const beside = y(share) + (share > 0.5 ? 13 : -13); // its line stays free
    const row = [0, 15, 30, 45].map((down) => beside + down).find(
      (at) => at < y(0) - 4 && !placed.some((other) => overlap(other, { left, wide, at })),
    );
    if (row === undefined) continue;
    placed.push({ left, wide, at: row });
    context.textAlign = "left";
    context.strokeText(name, left, row);
    context.fillStyle = style.getPropertyValue(`--class-${palette.slot(label)}`);
    context.fillText(name, left, row);
  }
}

function overlap(one, other) {
  const beside = one.left + one.wide + 4 < other.left || other.left + other.wide + 4 < one.left;
  return !beside && Math.abs(one.at - other.at) < 14;
}
