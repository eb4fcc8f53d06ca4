// A stream of `movinet serve` over its WebSocket: frames go in, results come out, and a lost
// connection is made again. No DOM: a worker or a program can use it too.
//
//   const server = new Server("http://127.0.0.1:8765/");
//   const { id } = await server.create({ half_life: 5 });
//   const stream = new StreamSocket(server, id);
//   stream.addEventListener("result", ({ detail }) => console.log(detail.top[0].label));
//   stream.open();
//   // As often as there is a picture:
//   if (stream.takes(seconds)) stream.send(jpeg, seconds);

import { FedStream } from "./fed.js";

/** Bytes of a frame's header: sequence, presentation time in µs, kind, three zeros. */
const HEADER_BYTES = 16;
const JPEG = 1;
/** Milliseconds of silence after which the server is asked, and given up. */
const ASK_AFTER = 10_000;
const GIVE_UP_AFTER = 25_000;
/** Milliseconds before a second try to connect, and at most. */
const FIRST_DELAY = 250;
const MOST_DELAY = 5_000;
/** Milliseconds after which a connection counts as a good one. */
const GOOD_AFTER = 3_000;
/** Codes of a close (RFC 6455). */
const NORMAL = 1000;
const POLICY = 1008;
const RESTART = 1012;
const LATER = 1013;

/**
 * @typedef {"closed" | "gone" | "token" | "refused" | "left"} Why a stream has ended: somebody
 *   closed it, the server does not have it, a token is needed, the server refuses the connection,
 *   or `close` was called.
 */

/**
 * A stream on a server.
 *
 * Events (each with `detail`):
 * - "state": {state: State, why: Why | null, reason: string, delay: number} - delay in
 *   milliseconds until the next try.
 * - "hello": the server's first message, after every connection: labels, frame_rate, image_size,
 *   half_life, rewind, time.
 * - "result": the server's message, with `latency`: milliseconds from the capture of the frame, or
 *   null for a frame of somebody else.
 * - "events": {events} without a result, at the end of a stream.
 * - "refused": {reason}, of a frame or a control message.
 * - "done": {of}, a control message was followed.
 */
export class StreamSocket extends FedStream {
  #server;
  #socket = null;
  #timer = 0;
  #watch = 0;
  #tries = 0;
  #openedAt = Infinity;
  #heardAt = 0;
  #sequence = -1;

  /**
   * @param {import("./server.js").Server} server
   * @param {string} id Of the stream.
   */
  constructor(server, id) {
    super(id);
    this.#server = server;
  }

  /** Connect, and stay connected. */
  open() {
    if (this.state === "connecting" || this.state === "open") return;
    clearTimeout(this.#timer);
    this.#connect();
  }

  /** Disconnect; the stream stays on the server. */
  close() {
    this.#end("left", "");
  }

  /**
   * Send a frame that `takes` has agreed to.
   *
   * @param {Blob | ArrayBuffer | Uint8Array} jpeg
   * @param {number} time Seconds of the source, as given to `takes`.
   * @param {number} captured When it was captured, by performance.now().
   */
  send(jpeg, time, captured = performance.now()) {
    if (!this._sends) return;
    this.#sequence = (this.#sequence + 1) >>> 0;
    const header = new DataView(new ArrayBuffer(HEADER_BYTES));
    header.setUint32(0, this.#sequence, true);
    const seconds = this._tickOf(time) / this.hello.frame_rate;
    header.setBigInt64(4, BigInt(Math.round(seconds * 1e6)), true);
    header.setUint8(12, JPEG);
    this._flow.sent(this.#sequence, captured);
    this.#socket.send(new Blob([header.buffer, jpeg]));
  }

  /** Change how fast the stream forgets. @param {number | null} seconds null: the mean of all. */
  setHalfLife(seconds) {
    if (this.state !== "open") return false;
    this.#socket.send(JSON.stringify({ type: "half_life", seconds }));
    return true;
  }

  /** Forget everything; the stream's clock starts at 0. */
  reset() {
    return this._between(() => this.#server.reset(this.id));
  }

  /** Continue from the file of a snapshot. @param {Blob} snapshot */
  restore(snapshot) {
    return this._between(() => this.#server.restore(this.id, snapshot));
  }

  async #connect() {
    this._become("connecting");
    try {
      await this.#server.stream(this.id); // a WebSocket does not say why it is refused
    } catch (error) {
      if (this.state !== "connecting") return;
      if (error.status === 401) this.#end("token", error.message);
      else if (error.status === 404) this.#end("gone", error.message);
      else if ([403, 421, 422].includes(error.status)) this.#end("refused", error.message);
      else this.#wait(error.message, (error.retryAfter ?? 0) * 1000);
      return;
    }
    if (this.state !== "connecting") return;
    const socket = this.#server.socket(this.id);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#hear(socket, data);
    socket.onclose = ({ code, reason }) => this.#lose(socket, code, reason);
    this.#openedAt = Infinity;
    this.#heardAt = performance.now();
    this.#watch = setInterval(() => this.#listen(socket), ASK_AFTER / 2);
  }

  /** Notice that a connection is dead, which nothing else reports for minutes. */
  #listen(socket) {
    const silent = performance.now() - this.#heardAt;
    if (silent > GIVE_UP_AFTER) {
      socket.close();
      this.#lose(socket, LATER, "the server was silent");
    } else if (silent > ASK_AFTER && socket.readyState === WebSocket.OPEN) {
      socket.send('{"type":"ping"}');
    }
  }

  #hear(socket, data) {
    if (socket !== this.#socket) return;
    this.#heardAt = performance.now();
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message.type === "hello") this.#greet(message);
    else if (message.type === "result") this.#take(message);
    else if (message.type === "skipped") this.#skip(message);
    else if (message.type === "refused") this.#refuse(message);
    else if (message.type === "closed") this.#end("closed", "the stream was ended");
    else if (message.type === "done") this._emit("done", message);
    else if (message.type === "events") this._emit("events", message);
  }

  #greet(hello) {
    this.#openedAt = performance.now();
    this.hello = hello;
    this._flow.clear();
    if (hello.sequence !== null) this.#sequence = Math.max(this.#sequence, hello.sequence);
    this.number = hello.number;
    this._become("open");
    this._emit("hello", hello);
  }

  #take(result) {
    const captured = this._flow.answer(result.sequence);
    this.number = result.number;
    this.dropped += result.dropped;
    this.missed += result.gap;
    const latency = captured === undefined ? null : performance.now() - captured;
    this._emit("result", { ...result, latency });
  }

  #skip(message) {
    if (this._flow.answer(message.sequence) !== undefined) this._flow.skipped += 1;
  }

  #refuse(message) {
    if (message.sequence !== undefined && this._flow.answer(message.sequence) !== undefined) {
      this._flow.lost += 1;
    }
    this._emit("refused", message);
  }

  #lose(socket, code, reason) {
    if (socket !== this.#socket) return;
    if (this.state === "open") this.breaks += 1;
    this.#drop();
    if (performance.now() - this.#openedAt > GOOD_AFTER) this.#tries = 0;
    if (code === NORMAL) this.#end("closed", reason || "the stream was ended");
    else if (code === POLICY) this.#end("refused", reason || "the server ended the connection");
    else if (code === RESTART) this.#wait("the server stops or moves", 0);
    else this.#wait(reason || "the connection was lost", 0);
  }

  #wait(reason, atLeast) {
    this.#drop();
    const delay = Math.min(MOST_DELAY, FIRST_DELAY * 2 ** this.#tries) * (0.75 + Math.random() / 2);
    this.#tries += 1;
    const whole = Math.max(delay, atLeast);
    this.#timer = setTimeout(() => this.#connect(), whole);
    this._become("waiting", null, reason, whole);
  }

  #end(why, reason) {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#drop();
    socket?.close();
    this._become("ended", why, reason);
  }

  #drop() {
    clearInterval(this.#watch);
    this._flow.lost += this._flow.unanswered;
    this._flow.clear();
    this.#socket = null;
  }
}
