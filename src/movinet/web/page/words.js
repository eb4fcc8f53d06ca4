// What the page says: sentences for what does not work, and numbers as people read them.

/** Something that did not work, as a sentence for the one who asked for it. */
export class Refusal extends Error {}

const HERE = { camera: "camera", screen: "screen" };

/**
 * Why there are no pictures, and what to do.
 *
 * @param {"camera" | "screen" | "file"} kind
 * @param {string} name Of the file.
 * @param {{name: string}} error As the browser gives it.
 */
export function sentenceOfCapture(kind, name, error = { name: "" }) {
  if (kind === "file") {
    return `This browser cannot play ${name}: convert it to MP4 (H.264) or WebM and open that.`;
  }
  const what = HERE[kind];
  switch (error.name) {
    case "Insecure":
      return (
        `Browsers give a ${what} only to pages of this machine or over HTTPS: open the page at ` +
        "http://localhost, or put the server behind HTTPS, or open a file."
      );
    case "NotAllowedError":
      return kind === "screen"
        ? "No screen was shared: press Screen again and choose what to share."
        : "The camera is not allowed: allow it in the browser's settings of this page and try again.";
    case "NotFoundError":
    case "OverconstrainedError":
      return `There is no ${what}: connect one and try again, or open a file.`;
    case "NotReadableError":
    case "AbortError":
      return `The ${what} cannot be read: close other programs that use it and try again.`;
    case "Ended":
      return `The ${what} has stopped: start it again to go on.`;
    case "TypeError":
      return `This browser cannot share a ${what}: use another browser, or open a file.`;
    default:
      return `The ${what} cannot be used (${error.name || "unknown"}): try another, or open a file.`;
  }
}

/**
 * Why the server did not do something, and what to do.
 *
 * @param {import("./server.js").ServerError} error
 * @param {string} what Was asked for, such as "No stream was made".
 */
export function sentenceOfServer(error, what) {
  const reason = error.message;
  switch (error.status) {
    case 0:
      return `${what}: the server does not answer; check that it runs, and try again.`;
    case 401:
      return `${what}: the server needs its token.`;
    case 404:
      return `${what}: the server does not have this stream any more; start a new one.`;
    case 413:
      return `${what}: the file is too large (${reason}).`;
    case 503:
      return (
        `${what}: the server is full (${reason}); end a stream, or try again in ` +
        `${seconds(error.retryAfter ?? 5)}.`
      );
    default:
      return `${what}: ${reason}.`;
  }
}

/** Seconds for people: "0.5 s", "12 s", "2 min". */
export function seconds(value) {
  if (value < 10) return `${Number(value.toPrecision(2))} s`;
  if (value < 100) return `${Math.round(value)} s`;
  return `${Number((value / 60).toPrecision(2))} min`;
}

/** A time in a stream: "7.3 s", "2:07.3". */
export function moment(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  const minutes = Math.floor(value / 60);
  return `${minutes}:${(value - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

/** A share of 1: "97 %". */
export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

/** Milliseconds: "4.2 ms", "38 ms", "1.2 s"; "–" for none. */
export function milliseconds(value) {
  if (value === null) return "–";
  if (value >= 1000) return `${(value / 1000).toFixed(1)} s`;
  return value < 10 ? `${value.toFixed(1)} ms` : `${Math.round(value)} ms`;
}

/** Places of the slider of half-lives; the last is the mean of all frames. */
export const HALF_LIFE_PLACES = 60;
const SHORTEST = 0.25;
const LONGEST = 120;

/** The half-life at a place of the slider, seconds; null at its end. */
export function halfLifeAt(place) {
  if (place >= HALF_LIFE_PLACES) return null;
  const value = SHORTEST * (LONGEST / SHORTEST) ** (place / (HALF_LIFE_PLACES - 1));
  return Number(value.toPrecision(2));
}

/** The place of a half-life on the slider. */
export function placeOfHalfLife(value) {
  if (value === null) return HALF_LIFE_PLACES;
  const place = Math.log(value / SHORTEST) / Math.log(LONGEST / SHORTEST);
  return Math.max(0, Math.min(1, place)) * (HALF_LIFE_PLACES - 1);
}

/** A half-life in words. */
export function halfLifeWords(value) {
  return value === null ? "mean of all" : seconds(value);
}
