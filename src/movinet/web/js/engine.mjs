// The engine in WebAssembly: one module for each loaded file, so that its memory goes with it.

import { ModelError } from "./errors.mjs";

/** f32x4.relaxed_madd of zeros: engines that know it take the faster module. */
const RELAXED = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 19, 1, 17, 0],
  ...[65, 0, 253, 15, 65, 0, 253, 15, 65, 0, 253, 15, 253, 133, 2, 11],
);
const OK = 0;
const BYTES = 1;
const LARGEST_FILE = 2 ** 30;
const compiled = new Map();
/** Streams that nobody holds any more give their memory back. */
const forgotten = new FinalizationRegistry((free) => free());

/** The name of the best kernels that run here: "relaxed" or "simd128". */
export function bestKernels() {
  return WebAssembly.validate(RELAXED) ? "relaxed" : "simd128";
}

/**
 * The compiled module with these kernels; compiled once.
 *
 * @param {string} kernels
 * @returns {Promise<WebAssembly.Module>}
 */
function compile(kernels) {
  if (!compiled.has(kernels)) {
    const promise = compileFrom(new URL(`./wasm/movinet-${kernels}.wasm`, import.meta.url));
    promise.catch(() => compiled.delete(kernels)); // the network may be back next time
    compiled.set(kernels, promise);
  }
  return compiled.get(kernels);
}

async function compileFrom(url) {
  try {
    return await WebAssembly.compile(await read(url));
  } catch (error) {
    if (error instanceof ModelError) throw error;
    throw new ModelError(
      `the engine does not run here (${error.message}): it needs WebAssembly with SIMD and ` +
        "exceptions, as in Chrome 95, Firefox 100, Safari 16.4, Node.js 20 and later",
    );
  }
}

async function read(url) {
  if (url.protocol === "file:") {
    const { readFile } = await import("node:fs/promises");
    try {
      return await readFile(url);
    } catch (error) {
      throw new ModelError(`${url.pathname} cannot be read (${error.code}): make wasm builds it`);
    }
  }
  return (await fetched(url)).arrayBuffer();
}

/**
 * @param {string | URL} url
 * @returns {Promise<Response>} A good one.
 */
export async function fetched(url) {
  let response;
  try {
    response = await fetch(url);
  } catch (error) {
    throw new ModelError(`${url} cannot be loaded (${error.message}): check the address`);
  }
  if (!response.ok) throw new ModelError(`${url} cannot be loaded (HTTP ${response.status})`);
  return response;
}

/** What the module asks of a system that is not there: nothing can be written. */
function system(module) {
  const imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    (imports[from] ??= {})[name] = () => 8; // "bad file number"
  }
  return imports;
}

/** A loaded .mvn file. */
export class Engine {
  /**
   * @param {Uint8Array} file The whole .mvn file.
   * @param {{kernels?: string}} [options] "simd128" or "relaxed"; the best one without it.
   */
  static async load(file, { kernels } = {}) {
    const module = await compile(kernels ?? bestKernels());
    const { exports } = await WebAssembly.instantiate(module, system(module));
    exports._initialize();
    return new Engine(exports, file);
  }

  /** @private */
  constructor(exports, file) {
    this.exports = exports;
    if (file.length > LARGEST_FILE) {
      throw new ModelError(`a file of ${file.length} bytes is too long for a page`);
    }
    const place = this.allocate(file.length);
    this.bytes(place, file.length).set(file);
    const out = this.allocate(24);
    this.check(exports.movinet_load_memory(place, file.length, 1, out));
    exports.free(place);
    const [model] = this.words(out, 1);
    exports.movinet_get_info(out, model);
    const [height, width, classes, stateBytes, name, embedding] = this.words(out, 6);
    const text = exports.movinet_manifest(model, out);
    const manifest = this.bytes(text, this.words(out, 1)[0]);
    exports.free(out);
    this.model = model;
    this.info = { height, width, classes, stateBytes, embedding, kernels: this.text(name) };
    try {
      this.manifest = JSON.parse(new TextDecoder().decode(manifest));
    } catch {
      throw new ModelError("the model's manifest is broken; export it again");
    }
  }

  /** Bytes that the engine has reserved. */
  get memory() {
    return this.exports.memory.buffer.byteLength;
  }

  stream() {
    return new EngineStream(this);
  }

  /** @package */
  allocate(size) {
    const place = this.exports.malloc(Math.max(size, 1)) >>> 0;
    if (place === 0) throw new ModelError("out of memory");
    return place;
  }

  /** @package Views end with the next call, which may move the memory. */
  bytes(place, size) {
    return new Uint8Array(this.exports.memory.buffer, place >>> 0, size);
  }

  /** @package */
  words(place, count) {
    return Array.from(new Uint32Array(this.exports.memory.buffer, place >>> 0, count));
  }

  /** @package */
  floats(place, count) {
    return Float32Array.from(new Float32Array(this.exports.memory.buffer, place >>> 0, count));
  }

  /** @package */
  text(place) {
    const memory = new Uint8Array(this.exports.memory.buffer);
    const start = place >>> 0;
    return new TextDecoder().decode(memory.subarray(start, memory.indexOf(0, start)));
  }

  /** @package */
  check(code) {
    if (code !== OK) throw new ModelError(this.text(this.exports.movinet_error()));
  }
}

/** The state of one stream, in the engine's memory until it is closed. */
class EngineStream {
  /** @private */
  constructor(engine) {
    const { exports, info } = engine;
    this.engine = engine;
    this.stream = exports.movinet_stream_new(engine.model) >>> 0;
    if (this.stream === 0) throw new ModelError("out of memory");
    this.frame = engine.allocate(info.height * info.width * 3);
    this.output = engine.allocate(4 * Math.max(info.classes, info.embedding));
    const { stream, frame, output } = this;
    this.free = () => {
      exports.movinet_stream_free(stream);
      exports.free(frame);
      exports.free(output);
    };
    forgotten.register(this, this.free, this);
  }

  /**
   * @param {Uint8Array} pixels RGB of the model's size.
   * @param {number} decay In (0, 1].
   * @returns {Float32Array} Logits.
   */
  step(pixels, decay) {
    const { exports, info } = this.use();
    const size = info.height * info.width * 3;
    if (pixels.length !== size) {
      throw new ModelError(`a frame has ${size} bytes here, not ${pixels.length}`);
    }
    this.engine.bytes(this.frame, size).set(pixels);
    this.engine.check(exports.movinet_step(this.stream, this.frame, BYTES, 1, decay, this.output));
    return this.engine.floats(this.output, info.classes);
  }

  /** The embedding of everything seen. */
  embedding() {
    const { exports, info } = this.use();
    this.engine.check(exports.movinet_embedding(this.stream, this.output));
    return this.engine.floats(this.output, info.embedding);
  }

  reset() {
    this.use().exports.movinet_reset(this.stream);
  }

  /** A snapshot file. */
  snapshot() {
    const { exports } = this.use();
    const size = this.engine.allocate(4);
    let place = 0;
    try {
      this.engine.check(exports.movinet_snapshot_write(this.stream, 0, 0, size));
      const [bytes] = this.engine.words(size, 1);
      place = this.engine.allocate(bytes);
      this.engine.check(exports.movinet_snapshot_write(this.stream, place, bytes, size));
      return Uint8Array.from(this.engine.bytes(place, bytes));
    } finally {
      exports.free(place);
      exports.free(size);
    }
  }

  /** Go on from a snapshot file of anybody; one that does not fit changes nothing. */
  restore(file) {
    const { exports } = this.use();
    const place = this.engine.allocate(file.length);
    try {
      this.engine.bytes(place, file.length).set(file);
      this.engine.check(exports.movinet_snapshot_read(this.stream, place, file.length));
    } finally {
      exports.free(place);
    }
  }

  close() {
    if (this.stream === 0) return;
    forgotten.unregister(this);
    this.free();
    this.stream = 0;
  }

  /** @private */
  use() {
    if (this.stream === 0) throw new ModelError("the stream is closed");
    return this.engine;
  }
}
