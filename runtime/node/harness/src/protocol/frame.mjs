// The frame codec of docs/protocol.md, with the same limits as crates/protocol. Pure: bytes in, frames out.

/** Bytes of a header. */
export const HEADER_BYTES = 16;
/** The largest payload of one frame, in bytes. */
export const PAYLOAD_BYTES_MAX = 64 * 1024;
/** Bytes that each side of an egress connection may have under way before it is granted more. */
export const CONNECTION_WINDOW_BYTES = 256 * 1024;
/** Calls that a sandbox may have unanswered. */
export const CALLS_UNANSWERED_MAX = 256;
/** The channel of calls, logs and the result. */
export const CONTROL = 0;

const FLAG_MORE = 1;
const MIB = 1 << 20;

/** What a frame carries: name → number. */
export const Kind = Object.freeze({
  Start: 1,
  Result: 2,
  Call: 3,
  Reply: 4,
  Log: 5,
  Signal: 6,
  Output: 7,
  Started: 8,
  Rehearse: 9,
  Open: 16,
  Opened: 17,
  Refused: 18,
  Data: 19,
  End: 20,
  Reset: 21,
  Window: 22,
  ToGuest: 64,
  FromGuest: 65,
});

/** The most bytes a whole message of a kind may have, over all its fragments. */
export const MESSAGE_BYTES_MAX = Object.freeze({
  [Kind.Start]: 8 * MIB,
  [Kind.Result]: 8 * MIB,
  [Kind.Call]: 8 * MIB,
  [Kind.Reply]: 64 * MIB,
  [Kind.Log]: MIB,
  [Kind.Signal]: 4096,
  [Kind.Output]: PAYLOAD_BYTES_MAX,
  [Kind.Started]: 0,
  [Kind.Rehearse]: 0,
  [Kind.Open]: 4096,
  [Kind.Opened]: 4096,
  [Kind.Refused]: 4096,
  [Kind.Data]: PAYLOAD_BYTES_MAX,
  [Kind.End]: 0,
  [Kind.Reset]: 0,
  [Kind.Window]: 4,
  [Kind.ToGuest]: MIB,
  [Kind.FromGuest]: MIB,
});

const NAMES = Object.fromEntries(Object.entries(Kind).map(([name, number]) => [number, name]));

/** Bytes that are no frame; the stream can't be read on after one. */
export class FrameError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'FrameError';
    this.code = code;
  }
}

function tooLong(kind) {
  const max = MESSAGE_BYTES_MAX[kind];
  return new FrameError('message_too_long', `${NAMES[kind]} message longer than ${max} bytes`);
}

/**
 * Cuts a message into the bytes of its frames. The sandbox field stays zero: the guest overwrites it.
 * @param {number} channel
 * @param {number} kind
 * @param {Uint8Array} message
 * @returns {Buffer}
 */
export function encode(channel, kind, message) {
  if (message.length > MESSAGE_BYTES_MAX[kind]) throw tooLong(kind);
  const frames = Math.max(1, Math.ceil(message.length / PAYLOAD_BYTES_MAX));
  const bytes = Buffer.allocUnsafe(message.length + frames * HEADER_BYTES);
  let at = 0;
  for (let frame = 0; frame < frames; frame++) {
    const from = frame * PAYLOAD_BYTES_MAX;
    const to = Math.min(message.length, from + PAYLOAD_BYTES_MAX);
    bytes.writeUInt32LE(to - from, at);
    bytes.writeUInt32LE(0, at + 4);
    bytes.writeUInt32LE(channel, at + 8);
    bytes[at + 12] = kind;
    bytes[at + 13] = frame < frames - 1 ? FLAG_MORE : 0;
    bytes.writeUInt16LE(0, at + 14);
    bytes.set(message.subarray(from, to), at + HEADER_BYTES);
    at += HEADER_BYTES + to - from;
  }
  return bytes;
}

/** Takes bytes as they come and yields frames. Keeps at most one frame's bytes plus what one read brought. */
export class Decoder {
  #buffer = Buffer.alloc(0);

  /** @param {Buffer} bytes which must not be changed afterwards */
  feed(bytes) {
    this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([this.#buffer, bytes]);
  }

  /**
   * The next whole frame, or null until more bytes are fed.
   * @returns {{sandbox: number, channel: number, kind: number, more: boolean, payload: Buffer} | null}
   */
  next() {
    const bytes = this.#buffer;
    if (bytes.length < HEADER_BYTES) return null;
    const length = bytes.readUInt32LE(0);
    const kind = bytes[12];
    if (length > PAYLOAD_BYTES_MAX) {
      throw new FrameError('too_long', `frame of ${length} bytes; at most ${PAYLOAD_BYTES_MAX} are allowed`);
    }
    if (!(kind in NAMES)) throw new FrameError('unknown_kind', `unknown frame kind ${kind}`);
    if ((bytes[13] & ~FLAG_MORE) !== 0 || bytes[14] !== 0 || bytes[15] !== 0) {
      throw new FrameError('unknown_flags', 'unknown frame flags');
    }
    if (length > MESSAGE_BYTES_MAX[kind]) throw tooLong(kind);
    const end = HEADER_BYTES + length;
    if (bytes.length < end) return null;
    this.#buffer = bytes.subarray(end);
    return {
      sandbox: bytes.readUInt32LE(4),
      channel: bytes.readUInt32LE(8),
      kind,
      more: (bytes[13] & FLAG_MORE) !== 0,
      payload: bytes.subarray(HEADER_BYTES, end),
    };
  }
}

/** Joins the fragments of one stream's messages, under the limit of their kind; on the control channel only. */
export class Assembler {
  #parts = new Map();

  /**
   * Takes a frame; returns the whole message with its last fragment, else null.
   * @returns {{channel: number, kind: number, payload: Buffer} | null}
   */
  push({ channel, kind, more, payload }) {
    const begun = this.#parts.get(kind);
    if (!more && (begun === undefined || channel !== CONTROL)) return { channel, kind, payload };
    if (channel !== CONTROL || MESSAGE_BYTES_MAX[kind] <= PAYLOAD_BYTES_MAX) throw tooLong(kind);
    const whole = begun ?? { length: 0, pieces: [] };
    whole.length += payload.length;
    if (whole.length > MESSAGE_BYTES_MAX[kind]) throw tooLong(kind);
    // A copy: the fragment is a view into a read buffer that would otherwise be kept alive whole.
    whole.pieces.push(Buffer.from(payload));
    if (more) {
      this.#parts.set(kind, whole);
      return null;
    }
    this.#parts.delete(kind);
    return { channel, kind, payload: Buffer.concat(whole.pieces, whole.length) };
  }
}
