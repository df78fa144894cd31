// Calls of the platform: numbered, answered in any order, at most CALLS_UNANSWERED_MAX under way.

import { CALLS_UNANSWERED_MAX, Kind, MESSAGE_BYTES_MAX } from './frame.mjs';

/** A call that the platform answered with an error. */
export class PlatformError extends Error {
  /** @param {{code: string, message: string, payload?: unknown}} error */
  constructor({ code, message, payload }) {
    super(message);
    this.name = 'PlatformError';
    this.code = code;
    this.payload = payload;
  }
}

export class Calls {
  #link;
  #unanswered = new Map();
  #waiting = [];
  #last = 0;

  /** @param {import('./link.mjs').Link} link */
  constructor(link) {
    this.#link = link;
    link.on(Kind.Reply, (reply) => this.#answered(reply));
  }

  /**
   * Calls `method`. Past the limit of unanswered calls it waits for its turn.
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  call(method, params = {}) {
    // Made here and not when the call is sent: it holds the caller's stack, which is what an author looks for.
    const at = new Error();
    return new Promise((resolve, reject) => {
      const bytes = Buffer.from(JSON.stringify({ id: ++this.#last, method, params }));
      if (bytes.length > MESSAGE_BYTES_MAX[Kind.Call]) {
        const message = `${method}: ${bytes.length} bytes in one call; at most ${MESSAGE_BYTES_MAX[Kind.Call]} fit`;
        reject(new PlatformError({ code: 'call_too_large', message }));
        return;
      }
      this.#waiting.push({ id: this.#last, bytes, resolve, reject, at });
      this.#sendWaiting();
    });
  }

  #sendWaiting() {
    while (this.#waiting.length > 0 && this.#unanswered.size < CALLS_UNANSWERED_MAX) {
      const call = this.#waiting.shift();
      this.#unanswered.set(call.id, call);
      this.#link.awaiting();
      this.#link.send(Kind.Call, 0, call.bytes);
      call.bytes = null;
    }
  }

  #answered({ id, ok, error }) {
    const call = this.#unanswered.get(id);
    if (call === undefined) return;
    this.#unanswered.delete(id);
    this.#link.settled();
    if (error === undefined) call.resolve(ok ?? null);
    else call.reject(withStack(new PlatformError(error), call.at));
    this.#sendWaiting();
  }
}

function withStack(error, at) {
  const frames = at.stack.split('\n').slice(1).join('\n');
  error.stack = `${error.name}: ${error.message}\n${frames}`;
  return error;
}
