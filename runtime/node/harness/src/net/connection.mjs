// One egress connection: a channel of the sandbox's stream, under the flow control of docs/protocol.md.

import { CONNECTION_WINDOW_BYTES, Kind, PAYLOAD_BYTES_MAX } from '../protocol/frame.mjs';

let lastChannel = 0;

/**
 * @typedef {object} Events
 * @property {(opened: {address: string, port: number}) => void} opened
 * @property {(refused: {code: string, message: string, rule?: string}) => void} refused
 * @property {(bytes: Buffer) => boolean} data returns false to be given no more until `resume`
 * @property {() => void} end the other side will send no more
 * @property {() => void} reset the connection broke off
 */

export class Connection {
  #link;
  #channel = ++lastChannel;
  #events;
  #sendable = CONNECTION_WINDOW_BYTES;
  #outgoing = [];
  #incoming = [];
  #flowing = false;
  #endSent = false;
  #endReceived = false;
  #endDelivered = false;
  #closed = false;
  #held = false;
  #wantsRef = true;

  /**
   * @param {import('../protocol/link.mjs').Link} link
   * @param {{host: string, port: number}} target
   * @param {Events} events
   */
  constructor(link, target, events) {
    this.#link = link;
    this.#events = events;
    link.open(this.#channel, (kind, payload) => this.#received(kind, payload));
    this.#hold();
    link.sendJson(Kind.Open, target, this.#channel);
  }

  /** Sends bytes as the window allows; `done` is called when all are under way, or never if the connection breaks. */
  write(bytes, done) {
    this.#outgoing.push({ bytes, done });
    this.#sendOutgoing();
  }

  /** Says that no more bytes come, after those that wait. */
  end(done) {
    this.#outgoing.push({ bytes: null, done });
    this.#sendOutgoing();
  }

  /** Lets `data` and `end` events come. */
  resume() {
    this.#flowing = true;
    this.#deliverIncoming();
  }

  pause() {
    this.#flowing = false;
  }

  /** Breaks off what is not at its end by itself. */
  close() {
    if (this.#closed) return;
    this.#link.send(Kind.Reset, this.#channel);
    this.#shut();
  }

  /** Whether this connection alone keeps the event loop alive. */
  ref() {
    this.#wantsRef = true;
    this.#hold();
  }

  unref() {
    this.#wantsRef = false;
    this.#release();
  }

  /** Bytes that wait for the window. */
  get queuedBytes() {
    return this.#outgoing.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0);
  }

  #hold() {
    if (this.#held || this.#closed || !this.#wantsRef) return;
    this.#held = true;
    this.#link.awaiting();
  }

  #release() {
    if (!this.#held) return;
    this.#held = false;
    this.#link.settled();
  }

  #shut() {
    this.#closed = true;
    this.#outgoing = [];
    this.#incoming = [];
    this.#link.close(this.#channel);
    this.#release();
  }

  #received(kind, payload) {
    switch (kind) {
      case Kind.Opened:
        this.#events.opened(JSON.parse(payload.toString()));
        break;
      case Kind.Refused:
        this.#shut();
        this.#events.refused(JSON.parse(payload.toString()));
        break;
      case Kind.Data:
        this.#incoming.push(payload);
        this.#deliverIncoming();
        break;
      case Kind.End:
        this.#endReceived = true;
        this.#deliverIncoming();
        break;
      case Kind.Reset:
        this.#shut();
        this.#events.reset();
        break;
      case Kind.Window:
        this.#sendable += payload.readUInt32LE(0);
        this.#sendOutgoing();
        break;
    }
  }

  #deliverIncoming() {
    while (this.#flowing && this.#incoming.length > 0) {
      const bytes = this.#incoming.shift();
      const grant = Buffer.allocUnsafe(4);
      grant.writeUInt32LE(bytes.length);
      if (!this.#closed) this.#link.send(Kind.Window, this.#channel, grant);
      this.#events.data(bytes);
    }
    if (this.#flowing && this.#endReceived && !this.#endDelivered && this.#incoming.length === 0) {
      this.#endDelivered = true;
      this.#events.end();
      this.#closeWhenBothEnded();
    }
  }

  #sendOutgoing() {
    while (this.#outgoing.length > 0 && !this.#closed) {
      const next = this.#outgoing[0];
      if (next.bytes === null) this.#sendEnd();
      else if (!this.#sendSome(next)) return;
      this.#outgoing.shift();
      next.done();
    }
  }

  /** Returns whether all of it went. */
  #sendSome(next) {
    while (next.bytes.length > 0) {
      const length = Math.min(next.bytes.length, this.#sendable, PAYLOAD_BYTES_MAX);
      if (length === 0) return false;
      this.#link.send(Kind.Data, this.#channel, next.bytes.subarray(0, length));
      this.#sendable -= length;
      next.bytes = next.bytes.subarray(length);
    }
    return true;
  }

  #sendEnd() {
    this.#endSent = true;
    this.#link.send(Kind.End, this.#channel);
    this.#closeWhenBothEnded();
  }

  #closeWhenBothEnded() {
    if (this.#endSent && this.#endDelivered && !this.#closed) this.#shut();
  }
}
