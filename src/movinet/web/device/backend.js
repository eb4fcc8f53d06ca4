// What computes the streams of this page: a worker of the browser, with the model that lies beside
// the page. It stands in the place of the file of this name of a server's page.

import { FedStream } from "./fed.js";

/** How streams want their pictures: "jpeg", a Blob, or "pixels", an ImageData. */
export const PICTURES = "pixels";

/** Sentences in the places of the page with these `data-say`. */
export const SENTENCES = {
  about: "Video recognised as it comes, in this browser.",
  privacy: "Pictures stay on this device: nothing is sent anywhere.",
  age: "The part of it that the network takes, from the pixels to the result.",
  "age-name": "Network",
  dropped: "Always 0 here: pictures wait on the page.",
};

/** It was refused; `status` is 422, as that of a server would be. */
export class ServerError extends Error {
  constructor(reason, status = 422) {
    super(reason);
    this.name = "ServerError";
    this.status = status;
    this.retryAfter = null;
  }
}

/** The streams of this page. */
export class Backend {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #calls = new Map();
  #count = 0;
  #streams = new Map();

  constructor() {
    this.token = "";
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message || "the engine of this page cannot be started");
    };
  }

  models() {
    return this.#call("models");
  }

  streams() {
    return Promise.resolve([]); // nobody else has any
  }

  stream(id) {
    return this.#call("stream", id);
  }

  create(options) {
    return this.#call("create", options);
  }

  fork(id, changes) {
    return this.#call("fork", id, changes);
  }

  reset(id) {
    return this.#call("reset", id);
  }

  rewind(id, seconds) {
    return this.#call("rewind", id, seconds);
  }

  async snapshot(id) {
    return new Blob([await this.#call("snapshot", id)]);
  }

  async restore(id, snapshot) {
    return this.#call("restore", id, await snapshot.arrayBuffer());
  }

  setHalfLife(id, seconds) {
    return this.#call("setHalfLife", id, seconds);
  }

  async end(id) {
    await this.#call("end", id);
  }

  /** @package Results of a stream go to `listener` from now on; null for nobody. */
  listen(id, listener) {
    if (listener === null) this.#streams.delete(id);
    else this.#streams.set(id, listener);
  }

  /** @package */
  post(frame) {
    this.#worker.postMessage({ frame });
  }

  #call(name, ...args) {
    this.#count += 1;
    const call = this.#count;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject });
      this.#worker.postMessage({ call, name, args });
    });
  }

  #hear({ call, value, reason, status, id, result }) {
    if (id !== undefined) {
      this.#streams.get(id)?.(result);
      return;
    }
    const { resolve, reject } = this.#calls.get(call);
    this.#calls.delete(call);
    if (reason === undefined) resolve(value);
    else reject(new ServerError(reason, status));
  }

  #fail(reason) {
    for (const { reject } of this.#calls.values()) reject(new ServerError(reason));
    this.#calls.clear();
  }
}

/** A stream of this page: the same events as one of a server has. */
export class Stream extends FedStream {
  #backend;
  #sequence = -1;

  constructor(backend, id) {
    super(id);
    this.#backend = backend;
  }

  async open() {
    if (this.state === "connecting" || this.state === "open") return;
    this._become("connecting");
    try {
      this.hello = await this.#backend.stream(this.id);
    } catch (error) {
      this._become("ended", "gone", error.message);
      return;
    }
    if (this.state !== "connecting") return;
    this.#backend.listen(this.id, (result) => this.#take(result));
    this.number = this.hello.number;
    this._become("open");
    this._emit("hello", this.hello);
  }

  close() {
    this.#backend.listen(this.id, null);
    this._become("ended", "left");
  }

  /** @param {ImageData} picture */
  send(picture, time, captured = performance.now()) {
    if (!this._sends) return;
    this.#sequence += 1;
    const number = this._tickOf(time);
    this._flow.sent(this.#sequence, captured);
    const { width, height, data } = picture;
    this.#backend.post({ id: this.id, sequence: this.#sequence, number, width, height, data });
  }

  setHalfLife(seconds) {
    if (this.state !== "open") return false;
    this.#backend.setHalfLife(this.id, seconds);
    return true;
  }

  reset() {
    return this._between(() => this.#backend.reset(this.id));
  }

  restore(snapshot) {
    return this._between(() => this.#backend.restore(this.id, snapshot));
  }

  #take(result) {
    const captured = this._flow.answer(result.sequence);
    if (result.reason !== undefined) {
      this._flow.lost += 1;
      this._emit("refused", result);
      return;
    }
    if (result.skipped) {
      this._flow.skipped += 1;
      return;
    }
    this.number = result.number;
    this.missed += result.gap;
    const latency = captured === undefined ? null : performance.now() - captured;
    this._emit("result", { ...result, latency });
  }
}
