// .onnx files, for any ONNX Runtime of JavaScript, which the caller hands over.

import { ModelError } from "./errors.mjs";
import { readSnapshot, writeSnapshot } from "./snapshot.mjs";

/**
 * The manifest of an .onnx file, as text.
 *
 * ONNX Runtime's JavaScript interface does not give out a file's metadata, so it is read from the
 * file itself: a protocol buffer whose top-level fields are few.
 *
 * @param {Uint8Array} file The whole .onnx file.
 */
export function manifestOfOnnx(file) {
  const text = metadata(file).get("movinet");
  if (text === undefined) {
    throw new ModelError("it has no movinet manifest; export the model with movinet export");
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new ModelError("its movinet manifest is broken");
  }
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

/** A loaded .onnx file. */
export class OnnxEngine {
  /**
   * @param {object} runtime The module `onnxruntime-node` or `onnxruntime-web`.
   * @param {Uint8Array} file
   * @param {object} manifest Of the file.
   * @param {object} options Of the session, such as `{executionProviders: ["wasm"]}`.
   */
  static async load(runtime, file, manifest, options) {
    const session = await runtime.InferenceSession.create(file, options);
    const missing = [
      ...manifest.inputs.filter(({ name }) => !session.inputNames.includes(name)),
      ...manifest.outputs.filter(({ name }) => !session.outputNames.includes(name)),
    ];
    if (missing.length > 0) {
      throw new ModelError(`its graph has no ${missing[0].name}, which its manifest lists`);
    }
    const engine = new OnnxEngine();
    return Object.assign(engine, { runtime, session, manifest, kernels: "onnxruntime" });
  }

  stream() {
    return new OnnxStream(this);
  }
}

/** The state of one stream, as tensors. */
class OnnxStream {
  /** @private */
  constructor(engine) {
    this.engine = engine;
    this.reset();
  }

  reset() {
    const { runtime, manifest } = this.engine;
    this.state = {};
    this.last = undefined;
    for (const { name, shape, initial } of manifest.states) {
      const sides = shape.map((side) => side ?? 1);
      const size = sides.reduce((product, side) => product * side, 1);
      this.state[name] = new runtime.Tensor("float32", new Float32Array(size).fill(initial), sides);
    }
  }

  async step(pixels, decay) {
    const { runtime, session, manifest } = this.engine;
    const { shape, dtype } = manifest.inputs.find(({ name }) => name === "frames");
    const sides = [1, ...shape.slice(1)];
    const values =
      dtype === "uint8" ? pixels : Float32Array.from(pixels, (value) => Math.fround(value / 255));
    const results = await session.run({
      frames: new runtime.Tensor(dtype, values, sides),
      decay: new runtime.Tensor("float32", Float32Array.of(decay), [1, 1]),
      ...this.state,
    });
    const old = this.state;
    this.state = {};
    // All are taken from the old state or the results: the order does not matter.
    for (const { name, next } of manifest.states) {
      this.state[name] = next.startsWith("state:") ? old[next.slice(6)] : results[next];
    }
    this.last = results.embedding?.data;
    return Float32Array.from(results[manifest.output].data);
  }

  embedding() {
    const { manifest } = this.engine;
    if (!manifest.outputs.some(({ name }) => name === "embedding")) {
      throw new ModelError("it gives no embedding: export it with --outputs logits,embedding");
    }
    if (this.last === undefined) throw new ModelError("the stream has seen no frame since it began");
    return Float32Array.from(this.last);
  }

  snapshot(frameCount) {
    const { manifest } = this.engine;
    const tensors = new Map();
    for (const { name } of manifest.states) {
      const { dims, data } = this.state[name];
      tensors.set(name, lastChannels(dims, data));
    }
    const weights = manifest.weights_sha256 ?? "";
    return writeSnapshot({ model: manifest.name, weights, frameCount, tensors });
  }

  restore(file) {
    const { runtime, manifest } = this.engine;
    const { model, weights, tensors } = readSnapshot(file);
    if (model !== manifest.name) throw new ModelError("the snapshot is of another model");
    if (weights && manifest.weights_sha256 && weights !== manifest.weights_sha256) {
      throw new ModelError("the snapshot is of other weights: what it has seen means nothing here");
    }
    const state = {};
    for (const { name, shape } of manifest.states) {
      const sides = shape.map((side) => side ?? 1);
      const found = tensors.get(name);
      const made = found && firstChannels(found.shape, found.data);
      if (!made || `${made.shape}` !== `${sides}`) {
        throw new ModelError("the snapshot is of an export with another image size or format");
      }
      state[name] = new runtime.Tensor("float32", made.data, sides);
    }
    this.state = state;
    this.last = undefined;
  }

  close() {}
}

/** (stream, channels, height, width) as (stream, height, width, channels); others as they are. */
function lastChannels(dims, data) {
  if (dims.length !== 4) return { shape: [...dims], data: Float32Array.from(data) };
  const [streams, channels, height, width] = dims;
  const values = transposed(data, channels, height * width);
  return { shape: [streams, height, width, channels], data: values };
}

/** And back. */
function firstChannels(dims, data) {
  if (dims.length !== 4) return { shape: [...dims], data: Float32Array.from(data) };
  const [streams, height, width, channels] = dims;
  const values = transposed(data, height * width, channels);
  return { shape: [streams, channels, height, width], data: values };
}

function transposed(data, rows, columns) {
  const result = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) result[c * rows + r] = data[r * columns + c];
  }
  return result;
}
