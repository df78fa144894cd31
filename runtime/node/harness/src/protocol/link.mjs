// The sandbox's end of its stream: sends messages, hands out those that arrive, and keeps the event loop alive
// exactly as long as something is awaited from the worker.

import net from 'node:net';
import { Assembler, CONTROL, Decoder, encode } from './frame.mjs';
import { Writer } from './writer.mjs';

// Kept from before the function's code runs: net.Socket.prototype.connect is replaced, the rest could be.
const { Socket } = net;
const EMPTY = Buffer.alloc(0);

export class Link {
  #writer;
  #socket;
  #decoder = new Decoder();
  #assembler = new Assembler();
  #handlers = new Map();
  #channels = new Map();
  #awaited = 0;

  /**
   * @param {number} fd of the stream
   * @param {net.Socket} socket that reads from it
   */
  constructor(fd, socket = new Socket({ fd, readable: true, writable: false })) {
    this.#writer = new Writer(fd);
    this.#socket = socket;
    this.#socket.on('data', (bytes) => this.#received(bytes));
    const gone = () => this.onGone?.();
    this.#socket.on('error', gone);
    this.#socket.on('close', gone);
    this.#socket.unref();
  }

  /** Called when the worker's end is closed. */
  onGone = null;

  /** Messages of `kind` on the control channel go to `handler(value)`, parsed. */
  on(kind, handler) {
    this.#handlers.set(kind, handler);
  }

  /** Frames of `channel` go to `handler(kind, payload)` until `close`. */
  open(channel, handler) {
    this.#channels.set(channel, handler);
  }

  close(channel) {
    this.#channels.delete(channel);
  }

  /** Sends bytes. */
  send(kind, channel = CONTROL, bytes = EMPTY) {
    this.#writer.write(encode(channel, kind, bytes));
  }

  /** Sends a value as JSON. */
  sendJson(kind, value, channel = CONTROL) {
    this.send(kind, channel, Buffer.from(JSON.stringify(value)));
  }

  /** Blocks until all is written, at most `ms`. */
  flush(ms) {
    this.#writer.flush(Date.now() + ms);
  }

  /** From now on something is awaited: the event loop stays alive. Undone by `settled`. */
  awaiting() {
    if (this.#awaited++ === 0) this.#socket.ref();
  }

  settled() {
    if (--this.#awaited === 0) this.#socket.unref();
  }

  #received(bytes) {
    this.#decoder.feed(bytes);
    for (let frame = this.#decoder.next(); frame !== null; frame = this.#decoder.next()) {
      const message = this.#assembler.push(frame);
      if (message !== null) this.#deliver(message);
    }
  }

  #deliver({ channel, kind, payload }) {
    // A channel that is closed on this side may still have frames under way from the other: they are dropped.
    if (channel !== CONTROL) this.#channels.get(channel)?.(kind, payload);
    else this.#handlers.get(kind)?.(payload.length === 0 ? undefined : JSON.parse(payload.toString()));
  }
}
