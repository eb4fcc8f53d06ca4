// What `movinet serve` answers over HTTP. No DOM: a worker or a program can use it too.

/** Of a token in a WebSocket's subprotocols, since browsers cannot set its headers. */
const TOKEN_PROTOCOL = "movinet.token.";
const PROTOCOL = "movinet.1";
/** Milliseconds for an answer, and for one with a file. */
const PATIENCE = 15_000;
const FILE_PATIENCE = 300_000;

/** The server refused, or did not answer. */
export class ServerError extends Error {
  /**
   * @param {string} reason As the server gives it.
   * @param {number} status Of HTTP; 0 if the server was not reached.
   * @param {number | null} retryAfter Seconds, if the server names them.
   */
  constructor(reason, status = 0, retryAfter = null) {
    super(reason);
    this.name = "ServerError";
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** A server of streams. */
export class Server {
  /**
   * @param {string} base URL of its page, such as "http://127.0.0.1:8765/".
   * @param {string} token If it needs one.
   */
  constructor(base, token = "") {
    this.base = base;
    this.token = token;
  }

  /** The models that are served: name, labels, image_size, frame_rate and notes. */
  models() {
    return this.#json("GET", "v1/models");
  }

  /** The open streams. */
  streams() {
    return this.#json("GET", "v1/streams");
  }

  /** A stream by its id; one that sleeps on disk wakes up. */
  stream(id) {
    return this.#json("GET", streamPath(id));
  }

  /**
   * Make a stream.
   *
   * @param {object} options model, half_life, rules, rate, gap, top, rewind.
   * @returns {Promise<object>} The stream: id, model, frame_rate, half_life and more.
   */
  create(options) {
    return this.#json("POST", "v1/streams", options);
  }

  /** Make a second stream with the state of a first; half_life, rules and top may differ. */
  fork(id, changes) {
    return this.#json("POST", `${streamPath(id)}/fork`, changes);
  }

  /** Forget everything. */
  reset(id) {
    return this.#json("POST", `${streamPath(id)}/reset`);
  }

  /** Forget the last seconds; resolves to {time}, the time in the stream of the state. */
  rewind(id, seconds) {
    return this.#json("POST", `${streamPath(id)}/rewind`, { seconds });
  }

  /** The state as a file. @returns {Promise<Blob>} */
  async snapshot(id) {
    return (await this.#ask("GET", `${streamPath(id)}/snapshot`)).blob();
  }

  /** Continue from the file of a snapshot. @param {Blob} snapshot */
  async restore(id, snapshot) {
    return (await this.#ask("PUT", `${streamPath(id)}/snapshot`, snapshot)).json();
  }

  /** End a stream. */
  async end(id) {
    await this.#ask("DELETE", streamPath(id));
  }

  /** A WebSocket of a stream that is not open yet. @returns {WebSocket} */
  socket(id) {
    const url = new URL(`${streamPath(id)}/live`, this.base);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = [PROTOCOL];
    if (/^[\w.~-]+$/.test(this.token)) {
      protocols.push(TOKEN_PROTOCOL + this.token);
    } else if (this.token) {
      url.searchParams.set("access_token", this.token); // not possible in a subprotocol
    }
    return new WebSocket(url, protocols);
  }

  async #json(method, path, body) {
    const content = body === undefined ? undefined : JSON.stringify(body);
    return (await this.#ask(method, path, content, "application/json")).json();
  }

  async #ask(method, path, body, type = "application/octet-stream") {
    const headers = {};
    if (body !== undefined) headers["Content-Type"] = type;
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    let answer;
    try {
      const signal = AbortSignal.timeout(path.endsWith("/snapshot") ? FILE_PATIENCE : PATIENCE);
      answer = await fetch(new URL(path, this.base), { method, headers, body, signal });
    } catch {
      throw new ServerError("the server does not answer");
    }
    if (answer.ok) return answer;
    const said = await answer.json().catch(() => null);
    const reason = typeof said?.error === "string" ? said.error : `HTTP ${answer.status}`;
    const after = Number.parseFloat(answer.headers.get("Retry-After") ?? "");
    throw new ServerError(reason, answer.status, Number.isFinite(after) ? after : null);
  }
}

function streamPath(id) {
  return `v1/streams/${encodeURIComponent(id)}`;
}
