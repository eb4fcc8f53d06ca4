// Run an exported stream model on frames: see README.md.

import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";

import { Model, readManifest, top } from "../../src/movinet/web/js/index.mjs";
import { readImages } from "./ppm.mjs";

const USAGE = `usage: node predict.mjs MODEL FRAMES [--json] [--half-life SECONDS]
       node predict.mjs MODEL --info

MODEL is a .mvn or .onnx file. FRAMES is a file of binary PPM images one after another, or - for standard input, at the frame rate
that --info tells. Prints the three best classes after each frame, of everything seen until then;
with --json a line for each frame with all probabilities.`;

class UsageError extends Error {}

async function main() {
  const { values, positionals } = arguments_();
  if (values.help) return console.log(USAGE);
  const [path, source] = positionals;
  if (positionals.length !== (values.info ? 1 : 2)) throw new UsageError(USAGE);
  const file = await readFile(path);
  if (values.info) {
    const { name, input, labels, origin } = readManifest(file);
    return console.log(JSON.stringify({ name, input, labels, origin }, null, 2));
  }
  const halfLife = values["half-life"] === undefined ? undefined : Number(values["half-life"]);
  const model = await load(path, file);
  const stream = model.stream(halfLife);
  const { labels, input } = model.manifest;
  const bytes = source === "-" ? process.stdin : createReadStream(source);
  for await (const image of readImages(bytes)) {
    const time = stream.frameCount / input.frame_rate;
    const probabilities = await stream.step(image);
    if (values.json) {
      console.log(JSON.stringify({ time, probabilities: Array.from(probabilities) }));
    } else {
      const best = top(probabilities, labels, 3).map(([l, p]) => `${l} ${(100 * p).toFixed(1)} %`);
      console.log(`${time.toFixed(2)} s  ${best.join("  ")}`);
    }
  }
  if (stream.frameCount === 0) throw new Error(`${source}: there are no frames`);
}

/** .mvn files run on the engine of movinet's package, others on ONNX Runtime. */
async function load(path, file) {
  if (path.endsWith(".mvn")) return Model.load(file);
  const runtime = await import("onnxruntime-node");
  const session = { intraOpNumThreads: 1, interOpNumThreads: 1 }; // best for models this small
  return Model.load(file, { runtime, session });
}

function arguments_() {
  const options = {
    help: { type: "boolean", short: "h" },
    info: { type: "boolean" },
    json: { type: "boolean" },
    "half-life": { type: "string" },
  };
  try {
    return parseArgs({ options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(`${error.message}\n${USAGE}`);
  }
}

try {
  await main();
} catch (error) {
  console.error(error instanceof UsageError ? error.message : `error: ${error.message}`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
