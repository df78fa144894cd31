// What tells a handler to come to an end: the soft deadline and a cancel, as an AbortSignal.

import { Kind } from '../protocol/frame.mjs';

export class Interrupt {
  #controller = new AbortController();
  /** Whether the soft deadline has come. */
  deadline = false;

  /** @param {import('../protocol/link.mjs').Link} link */
  constructor(link) {
    link.on(Kind.Signal, ({ is }) => {
      if (is === 'deadline') this.deadline = true;
      const name = is === 'deadline' ? 'TimeoutError' : 'AbortError';
      const text = is === 'deadline' ? 'The attempt is near its time limit' : 'The execution was cancelled';
      this.#controller.abort(new DOMException(text, name));
    });
    keepAliveWhileListened(this.#controller.signal, link);
  }

  /** Fires at the soft deadline or a cancel. */
  get signal() {
    return this.#controller.signal;
  }
}

/** A handler that waits for nothing but its signal has not run dry. */
function keepAliveWhileListened(signal, link) {
  const { addEventListener } = signal;
  let listened = false;
  signal.addEventListener = function listen(...args) {
    if (!listened && !signal.aborted) {
      listened = true;
      link.awaiting();
      addEventListener.call(signal, 'abort', () => link.settled(), { once: true });
    }
    return addEventListener.apply(this, args);
  };
}
