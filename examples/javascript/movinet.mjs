// Streams of .onnx files that `movinet export` made, for any ONNX Runtime of JavaScript.
//
// Nothing here depends on Node.js or a browser: the caller hands over the runtime
// (`onnxruntime-node` or `onnxruntime-web`) and frames as plain pixels.

/** A file, a frame or a snapshot that does not fit; its message is one line. */
export class ModelError extends Error {}

const LARGEST_SIDE = 16384;
const FORMAT_VERSION = 1;

/**
 * What travels with a model: input, labels, state.
 *
 * ONNX Runtime's JavaScript interface does not give out a file's metadata, so it is read from the
 * file itself: a protocol buffer whose top-level fields are few.
 *
 * @param {Uint8Array} file The whole .onnx file.
 * @returns {object} The manifest.
 */
export function readManifest(file) {
  const text = metadata(file).get("movinet");
  if (text === undefined) {
    throw new ModelError("it has no movinet manifest; export the model with movinet export");
  }
  let manifest;
  try {
    manifest = JSON.parse(text);
  } catch {
    throw new ModelError("its movinet manifest is broken");
  }
  if (!(manifest.movinet >= 1 && manifest.movinet <= FORMAT_VERSION)) {
    throw new ModelError(`its manifest is of version ${manifest.movinet}, not ${FORMAT_VERSION}`);
  }
  if (manifest.kind !== "step") {
    throw new ModelError(`${manifest.name} is a base model: it sees whole clips, not streams`);
  }
  if (manifest.num_frames !== 1 || ![1, null].includes(manifest.batch_size)) {
    throw new ModelError("it takes several frames or streams at a time; export it with one");
  }
  return manifest;
}

/** ModelProto.metadata_props of an .onnx file, as a Map. */
function metadata(file) {
  const found = new Map();
  for (const [field, entry] of fields(file)) {
    if (field !== 14) continue;
    const pair = new Map(fields(entry));
    const text = (bytes) => new TextDecoder().decode(bytes ?? new Uint8Array());
    found.set(text(pair.get(1)), text(pair.get(2)));
  }
  return found;
}

/** [number, bytes] of each length-delimited field of a protocol buffer message. */
function* fields(message) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; scale < 2 ** 53; scale *= 128) {
      if (at >= message.length) break;
      const byte = message[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new ModelError("it is not an .onnx file");
  };
  while (at < message.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) {
      varint();
      continue;
    }
    const size = { 1: 8, 2: undefined, 5: 4 }[wire] ?? (wire === 2 ? varint() : Infinity);
    if (at + size > message.length) throw new ModelError("it is not an .onnx file");
    if (wire === 2) yield [field, message.subarray(at, at + size)];
    at += size;
  }
}

/**
 * Resize a frame's shorter side and cut out the middle, bit for bit as movinet does in Python.
 *
 * @param {{width: number, height: number, data: Uint8Array | Uint8ClampedArray}} image
 *     Rows of RGB or RGBA pixels.
 * @param {{image_size: number, short_side: number}} input Of the manifest.
 * @returns {Uint8Array} RGB, image_size x image_size.
 */
export function cropPixels(image, input) {
  const { width, height, data } = image;
  const channels = checkImage(image);
  const [size, short] = [input.image_size, input.short_side];
  const rows = taps(height, Math.max(short, Math.floor((height * short) / width)), size);
  const columns = taps(width, Math.max(short, Math.floor((width * short) / height)), size);
  const result = new Uint8Array(size * size * 3);
  const round = Math.fround; // every step in float32, and in this order
  const line = (row, column, c) => {
    const left = data[(row * width + columns.low[column]) * channels + c];
    const right = data[(row * width + columns.high[column]) * channels + c];
    return round(left + round((right - left) * columns.weight[column]));
  };
  for (let y = 0, at = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      for (let c = 0; c < 3; c++) {
        const upper = line(rows.low[y], x, c);
        const lower = line(rows.high[y], x, c);
        result[at++] = round(upper + round(round(lower - upper) * rows.weight[y]));
      }
    }
  }
  return result;
}

/** Channels of an image, 3 or 4. */
function checkImage({ width, height, data }) {
  const sides = [width, height];
  const channels = data.length / (width * height);
  if (!sides.every((n) => n >= 1 && n <= LARGEST_SIDE) || ![3, 4].includes(channels)) {
    throw new ModelError(`${data.length} bytes are no RGB or RGBA frame of ${width}x${height}`);
  }
  return channels;
}

/** Two source pixels, and the weight of the second, for the middle `size` of `target` pixels. */
function taps(source, target, size) {
  const offset = Math.floor((target - size) / 2);
  const scale = Math.fround(source / target);
  const low = new Int32Array(size);
  const high = new Int32Array(size);
  const weight = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const place = Math.fround(Math.fround((offset + i + 0.5) * scale) - 0.5);
    low[i] = Math.max(Math.floor(place), 0);
    high[i] = Math.min(Math.ceil(place), source - 1);
    weight[i] = place - Math.floor(place);
  }
  return { low, high, weight };
}

/** A loaded file; any number of streams share it. */
export class Model {
  constructor(runtime, session, manifest) {
    this.runtime = runtime;
    this.session = session;
    this.manifest = manifest;
  }

  /**
   * @param {object} runtime The module `onnxruntime-node` or `onnxruntime-web`.
   * @param {Uint8Array} file The whole .onnx file.
   * @param {object} options Of the session, such as `{executionProviders: ["wasm"]}`.
   */
  static async load(runtime, file, options = {}) {
    const manifest = readManifest(file);
    const session = await runtime.InferenceSession.create(file, options);
    const missing = [
      ...manifest.inputs.filter(({ name }) => !session.inputNames.includes(name)),
      ...manifest.outputs.filter(({ name }) => !session.outputNames.includes(name)),
    ];
    if (missing.length > 0) {
      throw new ModelError(`its graph has no ${missing[0].name}, which its manifest tells of`);
    }
    return new Model(runtime, session, manifest);
  }

  /**
   * A new stream.
   *
   * @param {number} [halfLife] Seconds after which a frame counts half, for streams without an
   *     end; without it every frame counts the same, as published.
   */
  stream(halfLife) {
    return new Stream(this, halfLife);
  }
}

/** One video seen frame by frame. Wait for each step before the next. */
export class Stream {
  constructor(model, halfLife) {
    const { runtime, manifest } = model;
    if (halfLife !== undefined && !(halfLife > 0)) {
      throw new ModelError(`a half-life must be positive, not ${halfLife}`);
    }
    const decay = halfLife ? 0.5 ** (1 / (halfLife * manifest.input.frame_rate)) : 1;
    this.model = model;
    this.decay = new runtime.Tensor("float32", Float32Array.of(decay), [1, 1]);
    this.reset();
  }

  /** Forget every frame. */
  reset() {
    const { runtime, manifest } = this.model;
    this.frameCount = 0;
    this.state = {};
    for (const { name, shape, initial } of manifest.states) {
      const sides = shape.map((n) => n ?? 1);
      const size = sides.reduce((product, n) => product * n, 1);
      const values = new Float32Array(size).fill(initial);
      this.state[name] = new runtime.Tensor("float32", values, sides);
    }
  }

  /** The state as a value that later steps do not change. */
  snapshot() {
    return { state: { ...this.state }, frameCount: this.frameCount };
  }

  /** Go back to a snapshot of this or another stream of the same model. */
  restore({ state, frameCount }) {
    for (const { name } of this.model.manifest.states) {
      if (state[name] === undefined) throw new ModelError("the snapshot is of another model");
    }
    this.state = { ...state };
    this.frameCount = frameCount;
  }

  /**
   * See the next frame.
   *
   * @param {{width: number, height: number, data: Uint8Array | Uint8ClampedArray}} image
   *     RGB or RGBA of any size.
   * @returns {Promise<Float32Array>} Probabilities of everything seen since the start.
   */
  async step(image) {
    const { session, manifest } = this.model;
    const feeds = { frames: this.frames(image), decay: this.decay, ...this.state };
    const results = await session.run(feeds);
    const old = this.state;
    this.state = {};
    // All are taken from the old state or the results: the order does not matter.
    for (const { name, next } of manifest.states) {
      this.state[name] = next.startsWith("state:") ? old[next.slice(6)] : results[next];
    }
    this.frameCount += 1;
    const output = results[manifest.output].data;
    if (manifest.output !== "logits") return Float32Array.from(output);
    // A label alone excludes no other one.
    return manifest.multi_label || output.length === 1 ? sigmoid(output) : softmax(output);
  }

  /** A frame as the input tensor. */
  frames(image) {
    const { runtime, manifest } = this.model;
    const { shape, dtype } = manifest.inputs.find(({ name }) => name === "frames");
    const sides = [1, ...shape.slice(1)];
    const pixels = manifest.resizes ? rgb(image, sides) : cropPixels(image, manifest.input);
    if (dtype === "uint8") return new runtime.Tensor("uint8", pixels, sides);
    const scaled = Float32Array.from(pixels, (value) => Math.fround(value / 255));
    return new runtime.Tensor("float32", scaled, sides);
  }
}

/** The pixels of a frame that has the right size already. */
function rgb(image, [, height, width]) {
  const channels = checkImage(image);
  if (image.width !== width || image.height !== height) {
    throw new ModelError(
      `the model resizes frames of ${width}x${height}, not of ${image.width}x${image.height}`,
    );
  }
  if (channels === 3) return Uint8Array.from(image.data);
  return Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    return image.data[Math.floor(i / 3) * 4 + (i % 3)];
  });
}

function sigmoid(logits) {
  return Float32Array.from(logits, (value) => 1 / (1 + Math.exp(-value)));
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return Float32Array.from(powers, (value) => value / total);
}

/**
 * The most probable classes.
 *
 * @returns {[string, number][]} Labels and probabilities, the most probable first.
 */
export function top(probabilities, labels, count = 5) {
  const order = labels.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  return order.slice(0, count).map((i) => [labels[i], probabilities[i]]);
}
