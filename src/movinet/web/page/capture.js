// Where pictures come from: a camera, a screen or a file, in a <video>.

import { PICTURES } from "./backend.js";
import { sentenceOfCapture, Refusal } from "./words.js";

const QUALITY = 0.9;
/** Seconds of the source's clock that pass in a jump of a file. */
const JUMP = 0.05;

/** @typedef {"camera" | "screen" | "file"} Kind */

/**
 * A source of pictures. It throws a `Refusal` if there are none, and sends the events "change"
 * (another source or none) and "failed" (detail: a sentence).
 */
export class Source extends EventTarget {
  #video;
  #canvas = document.createElement("canvas");
  #stream = null;
  #address = null;
  #clock = 0;
  #last = 0;
  #ended = false;

  #prepare;

  /**
   * @param {HTMLVideoElement} video Where the source is shown.
   * @param {() => Promise<void>} prepare Awaited before a source starts, or a file starts again.
   */
  constructor(video, prepare) {
    super();
    this.#video = video;
    this.#prepare = prepare;
    /** @type {Kind | null} */
    this.kind = null;
    this.name = "";
    video.addEventListener("play", () => this.#again());
    video.addEventListener("ended", () => (this.#ended = true));
    video.addEventListener("error", () => {
      if (this.kind === "file") this.#fail(sentenceOfCapture("file", this.name));
    });
  }

  /**
   * Start a camera.
   *
   * @param {string} device Its id; empty for the one that the browser chooses.
   */
  async camera(device = "") {
    await this.#live("camera", () => {
      const video = device
        ? { deviceId: { exact: device } }
        : { facingMode: { ideal: "environment" }, width: { ideal: 640 }, height: { ideal: 480 } };
      return navigator.mediaDevices.getUserMedia({ video, audio: false });
    });
  }

  /** Start to show a screen or a window. */
  async screen() {
    await this.#live("screen", () =>
      navigator.mediaDevices.getDisplayMedia({ video: true, audio: false }),
    );
  }

  /** Play a file. @param {File} file */
  async file(file) {
    this.stop();
    this.kind = "file";
    this.name = file.name;
    this.#address = URL.createObjectURL(file);
    const video = this.#video;
    video.controls = true;
    const loaded = new Promise((resolve, reject) => {
      video.addEventListener("loadedmetadata", resolve, { once: true });
      video.addEventListener("error", reject, { once: true });
    });
    video.src = this.#address;
    try {
      await loaded;
      if (!video.videoWidth) throw new Error("no picture");
    } catch {
      this.stop();
      throw new Refusal(sentenceOfCapture("file", file.name));
    }
    this.#started();
    await this.#prepare(); // or the beginning would not be seen
    await video.play().catch(() => {}); // it has controls
  }

  /** The cameras, after one was allowed. @returns {Promise<{id: string, name: string}[]>} */
  async cameras() {
    const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    const found = all.filter(({ kind, deviceId }) => kind === "videoinput" && deviceId);
    return found.map(({ deviceId, label }, i) => ({ id: deviceId, name: label || `Camera ${i + 1}` }));
  }

  /** Id of the camera that runs. */
  get device() {
    return this.#stream?.getVideoTracks()[0]?.getSettings().deviceId ?? "";
  }

  /** Stop, and let the camera go. */
  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    const video = this.#video;
    video.controls = false;
    video.srcObject = null;
    if (this.#address !== null) {
      URL.revokeObjectURL(this.#address);
      this.#address = null;
      video.removeAttribute("src");
      video.load();
    }
    if (this.kind === null) return;
    this.kind = null;
    this.name = "";
    this.dispatchEvent(new Event("change"));
  }

  /** Whether there is a picture now. */
  get running() {
    const video = this.#video;
    const there = this.kind !== null && video.readyState >= 2 && video.videoWidth > 0;
    return there && (this.kind !== "file" || !(video.paused || video.ended || video.seeking));
  }

  /** Seconds of the source's clock: those of a live picture pass, those of a file are played. */
  time() {
    const now = this.kind === "file" ? this.#video.currentTime : performance.now() / 1000;
    const passed = now - this.#last;
    const jumped = this.kind === "file" && (passed < 0 || passed > 2);
    this.#last = now;
    this.#clock += jumped ? JUMP : passed;
    return this.#clock;
  }

  /**
   * The picture that is shown now.
   *
   * @param {number} side Pixels that its shorter side has at most.
   * @returns {Promise<Blob | ImageData | null>} A JPEG, or its pixels, as streams want them.
   */
  grab(side) {
    const { videoWidth: width, videoHeight: height } = this.#video;
    const scale = Math.min(1, side / Math.min(width, height));
    const canvas = this.#canvas;
    const [wide, high] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    const context = canvas.getContext("2d", { alpha: false, willReadFrequently: PICTURES === "pixels" });
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#video, 0, 0, wide, high);
    if (PICTURES === "pixels") return Promise.resolve(context.getImageData(0, 0, wide, high));
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
  }

  async #live(kind, ask) {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      throw new Refusal(sentenceOfCapture(kind, "", { name: "Insecure" }));
    }
    let stream;
    try {
      stream = await ask();
    } catch (error) {
      throw new Refusal(sentenceOfCapture(kind, "", error));
    }
    this.stop();
    this.kind = kind;
    this.#stream = stream;
    const [track] = stream.getVideoTracks();
    this.name = track.label || kind;
    track.addEventListener("ended", () => {
      if (this.#stream === stream) this.#fail(sentenceOfCapture(kind, "", { name: "Ended" }));
    });
    this.#video.srcObject = stream;
    await this.#video.play().catch(() => {});
    this.#started();
    await this.#prepare();
  }

  /** A file that has ended is played again: from the beginning, for all who see it. */
  async #again() {
    if (this.kind !== "file" || !this.#ended) return;
    this.#ended = false;
    this.#video.pause();
    await this.#prepare();
    await this.#video.play().catch(() => {});
  }

  #started() {
    this.#ended = false;
    this.#last = this.kind === "file" ? this.#video.currentTime : performance.now() / 1000;
    this.dispatchEvent(new Event("change"));
  }

  #fail(sentence) {
    this.stop();
    this.dispatchEvent(new CustomEvent("failed", { detail: sentence }));
  }
}

/** Gives the pictures of a source to streams, each at its own rate. */
export class Feed {
  #source;
  #streams;
  #timer = new Worker(new URL("timer.js", import.meta.url));
  #busy = false;

  /**
   * @param {Source} source
   * @param {() => import("./backend.js").Stream[]} streams Those that are fed now.
   */
  constructor(source, streams) {
    this.#source = source;
    this.#streams = streams;
    this.#timer.onmessage = () => this.#look();
    this.adjust();
  }

  /** Look as often as the fastest stream needs; call it when a source or stream has come or gone. */
  adjust() {
    const rates = this.#streams().map((stream) => stream.hello?.frame_rate ?? 0);
    const rate = this.#source.kind === null ? 0 : Math.max(0, ...rates);
    // Four times a tick: a frame is at most a quarter of a tick late.
    this.#timer.postMessage(rate > 0 ? Math.max(5, Math.min(50, 250 / rate)) : 0);
  }

  async #look() {
    if (this.#busy || !this.#source.running) return;
    const time = this.#source.time();
    const takers = this.#streams().filter((stream) => stream.takes(time));
    if (!takers.length) return;
    this.#busy = true;
    try {
      const captured = performance.now();
      // A margin for the crop that some models make.
      const side = Math.max(...takers.map(({ hello }) => hello.image_size)) * 1.15;
      const picture = await this.#source.grab(Math.ceil(side));
      if (picture !== null) for (const stream of takers) stream.send(picture, time, captured);
    } finally {
      this.#busy = false;
    }
  }
}
