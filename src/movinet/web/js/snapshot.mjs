// The one format of snapshots (docs/reference/snapshot.md): safetensors with metadata of ours.

import { ModelError } from "./errors.mjs";

const VERSION = "1";
const LARGEST_HEADER = 4 * 2 ** 20;
const MOST_TENSORS = 8192;

/**
 * The parts of a snapshot, of anybody: nothing of it is believed unchecked.
 *
 * @param {Uint8Array} file
 * @returns {{model: string, weights: string, frameCount: number, tensors: Map}} `tensors` are
 *     {shape, data} by name.
 */
export function readSnapshot(file) {
  const refuse = (why) => {
    throw new ModelError(`not a snapshot of a stream: ${why}`);
  };
  if (file.length < 8) refuse("too short");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const length = Number(view.getBigUint64(0, true));
  if (length < 2 || length > Math.min(LARGEST_HEADER, file.length - 8)) {
    refuse("its header cannot have this length");
  }
  let header;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, 8 + length)));
  } catch {
    refuse("its header is not JSON");
  }
  const { __metadata__: metadata, ...entries } = Object(header);
  if (metadata?.movinet_snapshot !== VERSION) refuse("of another version of the format, or none");
  const names = Object.keys(entries);
  if (names.length > MOST_TENSORS) refuse("too many tensors");
  const tensors = new Map();
  for (const name of names) {
    tensors.set(name, readTensor(entries[name], file.subarray(8 + length)) ?? refuse(`${name} does not fit`));
  }
  return {
    model: String(metadata.model),
    weights: String(metadata.weights_sha256 ?? ""),
    frameCount: onlyCount(metadata.frame_counts) ?? refuse("it is not of one stream"),
    tensors,
  };
}

function readTensor(entry, data) {
  const { dtype, shape, data_offsets: offsets } = Object(entry);
  const whole = (value) => Number.isSafeInteger(value) && value >= 0;
  if (dtype !== "F32" || !Array.isArray(shape) || !shape.every(whole)) return undefined;
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(whole)) return undefined;
  const count = shape.reduce((product, side) => product * side, 1);
  const [start, end] = offsets;
  if (end - start !== 4 * count || end > data.length) return undefined;
  return { shape, data: new Float32Array(Uint8Array.from(data.subarray(start, end)).buffer) };
}

function onlyCount(text) {
  try {
    const counts = JSON.parse(text);
    const good = Array.isArray(counts) && counts.length === 1 && Number.isSafeInteger(counts[0]);
    return good && counts[0] >= 0 ? counts[0] : undefined;
  } catch {
    return undefined;
  }
}

/** A snapshot file of these parts, as `readSnapshot` gives them. */
export function writeSnapshot({ model, weights, frameCount, tensors }) {
  const header = {
    __metadata__: {
      movinet_snapshot: VERSION,
      model,
      weights_sha256: weights,
      frame_counts: `[${frameCount}]`,
      decay: "[]",
      time: "null",
    },
  };
  let at = 0;
  for (const [name, { shape, data }] of tensors) {
    header[name] = { dtype: "F32", shape, data_offsets: [at, at + data.byteLength] };
    at += data.byteLength;
  }
  let text = new TextEncoder().encode(JSON.stringify(header));
  const padding = (8 - (text.length % 8)) % 8;
  const file = new Uint8Array(8 + text.length + padding + at).fill(32);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length + padding), true);
  file.set(text, 8);
  let place = 8 + text.length + padding;
  for (const { data } of tensors.values()) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), place);
    place += data.byteLength;
  }
  return file;
}
