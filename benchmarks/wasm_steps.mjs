// Steps models in Node.js as `wasm.py` asks: a line of JSON in, a line of JSON out.

import { readFile } from "node:fs/promises";
import readline from "node:readline";
import v8 from "node:v8";

// Node.js 20 knows these instructions, and hides them.
v8.setFlagsFromString("--experimental-wasm-relaxed-simd");
const { Model } = await import(process.argv[2]);
const ort = process.argv[3] ? await import(process.argv[3]) : undefined;
if (ort) ort.env.wasm.numThreads = 1;

const contenders = new Map();
const actions = {
  /** A contender: its stream, and frames of the size that the network sees. */
  async load({ name, path, kernels }) {
    const options = { kernels, runtime: ort, session: { executionProviders: ["wasm"] } };
    const model = await Model.load(await readFile(path), options);
    const side = model.manifest.input.image_size;
    const frames = [0, 1].map((k) => {
      return Uint8Array.from({ length: side * side * 3 }, (_, i) => (i * 31 + k * 97) % 251);
    });
    contenders.set(name, { stream: model.stream(), frames, count: 0, engine: model.engine });
    return { memory: model.engine.memory ?? null };
  },
  /** Milliseconds of a step, of the time that the process ran, and of the clock. */
  async step({ name }) {
    const contender = contenders.get(name);
    const frame = contender.frames[contender.count++ % 2];
    const [used, began] = [process.cpuUsage(), performance.now()];
    await contender.stream.inner.step(frame, 1);
    const [clock, { user, system }] = [performance.now() - began, process.cpuUsage(used)];
    return { cpu: (user + system) / 1000, clock };
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { action, ...rest } = JSON.parse(line);
  console.log(JSON.stringify(await actions[action](rest)));
}
