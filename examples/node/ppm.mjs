// Frames as a row of binary PPM images: what `frames.py` and `ffmpeg -c:v ppm` write.

const LARGEST_SIDE = 16384;
const LONGEST_HEADER = 1024;

/**
 * The images of a byte stream.
 *
 * @param {AsyncIterable<Buffer>} chunks Such as a file's read stream, or standard input.
 * @yields {{width: number, height: number, data: Uint8Array}} RGB frames.
 */
export async function* readImages(chunks) {
  const source = chunks[Symbol.asyncIterator]();
  let waiting = Buffer.alloc(0);
  const fill = async (size) => {
    const parts = [waiting];
    for (let length = waiting.length; length < size; ) {
      const { done, value } = await source.next();
      if (done) break;
      parts.push(value);
      length += value.length;
    }
    waiting = Buffer.concat(parts);
    return waiting.length >= size;
  };
  for (let count = 0; await fill(1); count++) {
    let header = null;
    for (let size = 16; header === null; size *= 2) {
      const whole = await fill(size);
      header = parseHeader(waiting);
      if (header === null && (!whole || size > LONGEST_HEADER)) {
        throw new Error(`frame ${count} is no binary PPM image of 8 bits (P6 ... 255)`);
      }
    }
    const { width, height, start } = header;
    const end = start + width * height * 3;
    if (!(await fill(end))) throw new Error(`frame ${count} is cut off`);
    yield { width, height, data: new Uint8Array(waiting.subarray(start, end)) };
    waiting = waiting.subarray(end);
  }
}

/** Sides and the place of the first pixel; null where the header is not whole. */
function parseHeader(bytes) {
  const text = bytes.subarray(0, LONGEST_HEADER).toString("latin1");
  const gap = "(?:\\s|#[^\\n]*\\n)+";
  const match = text.match(new RegExp(`^P6${gap}(\\d{1,5})${gap}(\\d{1,5})${gap}255\\s`));
  if (match === null) return null;
  const [width, height] = [Number(match[1]), Number(match[2])];
  if (width < 1 || height < 1 || Math.max(width, height) > LARGEST_SIDE) return null;
  return { width, height, start: match[0].length };
}
