// A function's log: console.*, process.stdout and process.stderr, nango.log. Lines are sent in batches.

import { Kind, MESSAGE_BYTES_MAX } from '../protocol/frame.mjs';

const { clearTimeout, setTimeout } = globalThis;

/** The longest line, in UTF-16 units; at most three bytes each, six where JSON escapes them. */
const LINE_LENGTH_MAX = 100 * 1024;
/** A batch is sent when it has this many bytes of JSON, at the latest. */
const BATCH_BYTES = 64 * 1024;
const BATCH_MS = 20;
const CUT = ' … [line cut]';

export class Logs {
  #send;
  #lines = [];
  #bytes = 0;
  #timer = null;

  /** @param {(bytes: Buffer) => void} send takes the payload of a Log message */
  constructor(send) {
    this.#send = send;
  }

  /** Logs on a link. */
  static over(link) {
    return new Logs((bytes) => link.send(Kind.Log, 0, bytes));
  }

  /**
   * @param {'debug' | 'info' | 'warn' | 'error'} level
   * @param {string} message
   */
  add(level, message) {
    const text = message.length > LINE_LENGTH_MAX ? message.slice(0, LINE_LENGTH_MAX) + CUT : message;
    const line = JSON.stringify({ at: Date.now(), level, message: text.toWellFormed() });
    const bytes = Buffer.byteLength(line) + 1;
    if (this.#bytes + bytes + 2 > MESSAGE_BYTES_MAX[Kind.Log]) this.flush();
    this.#lines.push(line);
    this.#bytes += bytes;
    if (this.#bytes >= BATCH_BYTES) this.flush();
    else this.#timer ??= setTimeout(() => this.flush(), BATCH_MS).unref();
  }

  /** Sends what there is. */
  flush() {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#lines.length === 0) return;
    const payload = Buffer.from(`[${this.#lines.join(',')}]`);
    this.#lines = [];
    this.#bytes = 0;
    this.#send(payload);
  }
}
