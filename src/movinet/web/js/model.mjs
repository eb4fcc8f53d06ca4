// Models and streams, whatever computes them.

import { Engine, fetched } from "./engine.mjs";
import { ModelError } from "./errors.mjs";
import { OnnxEngine, manifestOfOnnx } from "./onnx.mjs";
import { cropPixels, exactPixels } from "./pixels.mjs";
import { readSnapshot } from "./snapshot.mjs";

const FORMAT_VERSION = 1;
/** "MVN1", at the start of .mvn files. */
const MAGIC = [0x4d, 0x56, 0x4e, 0x31];
const LARGEST_MANIFEST = 16 * 2 ** 20;

const isNative = (file) => MAGIC.every((byte, i) => file[i] === byte);

/**
 * What travels with a model: input, labels, state.
 *
 * @param {Uint8Array} file The whole .mvn or .onnx file.
 * @returns {object} The manifest.
 */
export function readManifest(file) {
  return checked(isNative(file) ? manifestOfNative(file) : manifestOfOnnx(file));
}

function manifestOfNative(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const align = (at) => Math.ceil(at / 64) * 64;
  if (file.length < 128) throw new ModelError("the .mvn file is cut off");
  const [length, blocks] = [view.getUint32(16, true), view.getUint32(20, true)];
  const start = align(align(HEADER_BYTES) + blocks * RECORD_BYTES);
  if (length > LARGEST_MANIFEST || start + length > file.length) {
    throw new ModelError("the .mvn file is cut off");
  }
  try {
    return JSON.parse(new TextDecoder().decode(file.subarray(start, start + length)));
  } catch {
    throw new ModelError("its movinet manifest is broken");
  }
}

/** Of native/src/file.h: the header, and the record of a block. */
const HEADER_BYTES = 80;
const RECORD_BYTES = 36;

function checked(manifest) {
  if (!(manifest?.movinet >= 1 && manifest.movinet <= FORMAT_VERSION)) {
    throw new ModelError(`its manifest is of version ${manifest?.movinet}, not ${FORMAT_VERSION}`);
  }
  if (manifest.kind !== "step") {
    throw new ModelError(`${manifest.name} is a base model: it sees whole clips, not streams`);
  }
  if (manifest.num_frames !== 1 || ![1, null].includes(manifest.batch_size)) {
    throw new ModelError("it takes several frames or streams at a time; export it with one");
  }
  return manifest;
}

/** The bytes of a file, an address, a response, or what holds bytes. */
async function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (typeof source === "string" || source instanceof URL) return bytesOf(await fetched(source));
  if (typeof source?.arrayBuffer !== "function") {
    throw new ModelError("a model is loaded from bytes, a Blob, a Response or an address");
  }
  if (source.ok === false) {
    throw new ModelError(`${source.url} cannot be loaded (HTTP ${source.status})`);
  }
  return new Uint8Array(await source.arrayBuffer());
}

/** A loaded file; any number of streams share it. */
export class Model {
  /**
   * @param {Uint8Array | ArrayBuffer | Blob | Response | string | URL} source A .mvn file, which
   *     the engine of this package runs, or an .onnx file.
   * @param {{kernels?: string, runtime?: object, session?: object}} [options] `kernels` of the
   *     engine, "simd128" or "relaxed"; for .onnx files `runtime`, the module `onnxruntime-node` or
   *     `onnxruntime-web`, and `session`, its options.
   * @returns {Promise<Model>}
   */
  static async load(source, { kernels, runtime, session = {} } = {}) {
    const file = await bytesOf(source);
    if (isNative(file)) {
      const engine = await Engine.load(file, { kernels });
      return new Model(engine, checked(engine.manifest));
    }
    const manifest = readManifest(file);
    if (runtime === undefined) {
      throw new ModelError(".onnx files need a runtime: pass { runtime: onnxruntime-web }");
    }
    return new Model(await OnnxEngine.load(runtime, file, manifest, session), manifest);
  }

  /** @private */
  constructor(engine, manifest) {
    this.engine = engine;
    this.manifest = manifest;
    this.labels = manifest.labels;
    this.frameRate = manifest.input.frame_rate;
    this.kernels = engine.info?.kernels ?? engine.kernels;
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
  /** @private */
  constructor(model, halfLife) {
    this.model = model;
    this.frameCount = 0;
    this.setHalfLife(halfLife);
    this.inner = model.engine.stream();
  }

  /** From the next frame on; undefined for none. */
  setHalfLife(halfLife) {
    if (halfLife !== undefined && !(halfLife > 0 && Number.isFinite(halfLife))) {
      throw new ModelError(`a half-life must be positive, not ${halfLife}`);
    }
    this.halfLife = halfLife;
    this.decay = halfLife ? 0.5 ** (1 / (halfLife * this.model.frameRate)) : 1;
  }

  /**
   * See the next frame.
   *
   * @param {{width: number, height: number, data: Uint8Array | Uint8ClampedArray}} image
   *     RGB or RGBA of any size.
   * @param {{missed?: number}} [options] Frames that should have come before it and did not: what
   *     was seen before them counts as much less as if they had.
   * @returns {Promise<Float32Array>} Probabilities of everything seen since the start.
   */
  async step(image, { missed = 0 } = {}) {
    if (!(Number.isInteger(missed) && missed >= 0)) {
      throw new ModelError(`missed frames are counted, not ${missed}`);
    }
    const { manifest } = this.model;
    const pixels = this.pixels(image);
    // A smaller one would be no float that is greater than zero.
    const decay = Math.max(this.decay ** (missed + 1), 1e-37);
    const logits = await this.inner.step(pixels, decay);
    this.frameCount += 1;
    return manifest.output === "probabilities" ? logits : probabilities(logits, manifest);
  }

  /** The embedding of everything seen, as a classifier on top of the network sees it. */
  embedding() {
    return this.inner.embedding();
  }

  /** Forget every frame. */
  reset() {
    this.inner.reset();
    this.frameCount = 0;
  }

  /**
   * The state as a file that every export of the same weights continues from, in Python, C, a
   * server and on another page.
   *
   * @returns {Uint8Array}
   */
  snapshot() {
    return this.inner.snapshot(this.frameCount);
  }

  /** Continue from a snapshot file; one that does not fit is refused and changes nothing. */
  restore(file) {
    const { frameCount } = readSnapshot(file);
    this.inner.restore(file);
    this.frameCount = frameCount;
  }

  /** Give the memory of the state back. */
  close() {
    this.inner.close();
  }

  /** @private */
  pixels(image) {
    const { manifest } = this.model;
    if (!manifest.resizes) return cropPixels(image, manifest.input);
    const { shape } = manifest.inputs.find(({ name }) => name === "frames");
    return exactPixels(image, shape.slice(1));
  }
}

/** Of logits: a label alone excludes no other one. */
export function probabilities(logits, manifest) {
  return manifest.multi_label || logits.length === 1 ? sigmoid(logits) : softmax(logits);
}

function sigmoid(logits) {
  return Float32Array.from(logits, (value) => 1 / (1 + Math.exp(-value)));
}

function softmax(logits) {
  const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return Float32Array.from(powers, (value) => value / total);
}

/**
 * The most probable classes.
 *
 * @returns {[string, number][]} Labels and probabilities, the most probable first.
 */
export function top(values, labels, count = 5) {
  const order = labels.map((_, i) => i).sort((a, b) => values[b] - values[a]);
  return order.slice(0, count).map((i) => [labels[i], values[i]]);
}
