// Writing to the sandbox's stream, in order, without ever losing what was written before an exit.
//
// Writes are made with write(2) at once and not through libuv: whatever the function does next, be it an endless
// loop or a crash, what it said before is on its way. When the kernel's buffer is full the rest waits here, for a
// millisecond at a time. More than QUEUED_BYTES_MAX waiting blocks the function until the worker took some: a flood
// is slowed down instead of filling the sandbox's memory.

import fs from 'node:fs';

const { writeSync } = fs;
const { setTimeout } = globalThis;

/** Bytes that may wait before the writer blocks. */
export const QUEUED_BYTES_MAX = 1024 * 1024;
const RETRY_MS = 1;

const pause = new Int32Array(new SharedArrayBuffer(4));

export class Writer {
  #fd;
  #queue = [];
  #queued = 0;
  #timer = null;
  #broken = false;

  /** @param {number} fd of a stream that may be non-blocking */
  constructor(fd) {
    this.#fd = fd;
  }

  /** @param {Buffer} bytes */
  write(bytes) {
    if (this.#broken) return;
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    this.#drain();
    while (this.#queued > QUEUED_BYTES_MAX && !this.#broken) this.#wait();
    if (this.#queued > 0 && this.#timer === null) this.#retryLater();
  }

  /** Blocks until everything is written, at most until `until` (milliseconds since the epoch). */
  flush(until = Infinity) {
    this.#drain();
    while (this.#queued > 0 && !this.#broken && Date.now() < until) this.#wait();
  }

  #wait() {
    Atomics.wait(pause, 0, 0, RETRY_MS);
    this.#drain();
  }

  #retryLater() {
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#drain();
      if (this.#queued > 0) this.#retryLater();
    }, RETRY_MS);
  }

  #drain() {
    while (this.#queue.length > 0) {
      const written = this.#tryWrite(this.#queue[0]);
      if (written === 0) return;
      this.#queued -= written;
      const rest = this.#queue[0].subarray(written);
      if (rest.length > 0) this.#queue[0] = rest;
      else this.#queue.shift();
    }
  }

  #tryWrite(bytes) {
    try {
      return writeSync(this.#fd, bytes);
    } catch (error) {
      if (error.code === 'EAGAIN') return 0;
      // The worker is gone; the guest ends this sandbox. Nobody is left to tell.
      this.#broken = true;
      this.#queue = [];
      this.#queued = 0;
      return 0;
    }
  }
}
