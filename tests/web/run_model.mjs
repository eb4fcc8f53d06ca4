// Runs a model on frames in Node.js: node run_model.mjs JOB.json; the answers are JSON on one line.
//
// A job: {package, model, kernels, halfLife, frames, width, height, steps}. `frames` is a file of RGB frames;
// each step is a list: its name and what it needs.

import { readFile, writeFile } from "node:fs/promises";
import v8 from "node:v8";

// Node.js 20 knows these instructions, and hides them.
v8.setFlagsFromString("--experimental-wasm-relaxed-simd");

const job = JSON.parse(await readFile(process.argv[2], "utf8"));
const { Model, bestKernels } = await import(job.package);
const answers = [];

async function attempt(action) {
  try {
    return (await action()) ?? null;
  } catch (error) {
    if (error.constructor.name !== "ModelError") throw error;
    return { refused: error.message };
  }
}

const frames = job.frames ? await readFile(job.frames) : undefined;
const size = job.width * job.height * 3;
const image = (index) => {
  const data = frames.subarray(index * size, (index + 1) * size);
  return { width: job.width, height: job.height, data };
};
const list = (values) => Array.from(values);

let model;
let stream;
const actions = {
  load: async (path) => {
    model = await Model.load(await readFile(path), { kernels: job.kernels });
    stream = model.stream(job.halfLife ?? undefined);
    const { name, labels } = model.manifest;
    return { name, labels, kernels: model.kernels, best: bestKernels(), ...model.engine.info };
  },
  step: async (index, missed = 0) => list(await stream.step(image(index), { missed })),
  logits: async (index) => {
    const logits = await stream.inner.step(image(index).data, stream.decay);
    stream.frameCount += 1; // as `step` does
    return list(logits);
  },
  embedding: async () => list(stream.embedding()),
  reset: async () => stream.reset(),
  save: async (path) => writeFile(path, stream.snapshot()),
  restore: async (path) => stream.restore(await readFile(path)),
  count: async () => stream.frameCount,
  /** Streams one after the other; none is held, and every second one is closed. */
  open: async (count) => {
    for (let i = 0; i < count; i++) {
      const opened = model.stream();
      if (i % 2) opened.close();
      if (i % 20 === 0) {
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
  },
  closed: async () => {
    const opened = model.stream();
    opened.close();
    await opened.step({ width: 9, height: 9, data: new Uint8Array(9 * 9 * 3) });
  },
  memory: async () => model.engine.memory,
};

for (const [name, ...rest] of job.steps) answers.push(await attempt(() => actions[name](...rest)));
console.log(JSON.stringify(answers));
