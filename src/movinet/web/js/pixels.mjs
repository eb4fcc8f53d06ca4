// Frames as the network sees them, bit for bit as movinet makes them in Python.

import { ModelError } from "./errors.mjs";

const LARGEST_SIDE = 16384;

/**
 * Resize a frame's shorter side and cut out the middle.
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
  for (let y = 0, at = 0; y < size; y++) {
    const [above, below] = [rows.low[y] * width, rows.high[y] * width];
    const down = rows.weight[y];
    for (let x = 0; x < size; x++) {
      const [left, right] = [columns.low[x], columns.high[x]];
      const across = columns.weight[x];
      for (let c = 0; c < 3; c++) {
        const upper = mix(data, above + left, above + right, across, channels, c);
        const lower = mix(data, below + left, below + right, across, channels, c);
        result[at++] = round(upper + round(round(lower - upper) * down));
      }
    }
  }
  return result;
}

function mix(data, first, second, weight, channels, c) {
  const value = data[first * channels + c];
  const other = data[second * channels + c];
  return Math.fround(value + Math.fround((other - value) * weight));
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

/** The pixels of a frame that has the right size already. */
export function exactPixels(image, [height, width]) {
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

/** Channels of an image, 3 or 4. */
function checkImage({ width, height, data }) {
  const sides = [width, height];
  const channels = data.length / (width * height);
  if (!sides.every((n) => n >= 1 && n <= LARGEST_SIDE) || ![3, 4].includes(channels)) {
    throw new ModelError(`${data.length} bytes are no RGB or RGBA frame of ${width}x${height}`);
  }
  return channels;
}
