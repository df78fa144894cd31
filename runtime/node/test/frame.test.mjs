// The codec against docs/protocol.md: bytes written out by hand, and the limits.

import assert from 'node:assert/strict';
import test from 'node:test';
import {
  Assembler,
  Decoder,
  encode,
  HEADER_BYTES,
  Kind,
  MESSAGE_BYTES_MAX,
  PAYLOAD_BYTES_MAX,
} from '../harness/src/protocol/frame.mjs';

function header({ length = 0, sandbox = 0, channel = 0, kind = Kind.Data, flags = 0, zero = 0 }) {
  const bytes = Buffer.alloc(HEADER_BYTES);
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt32LE(sandbox, 4);
  bytes.writeUInt32LE(channel, 8);
  bytes[12] = kind;
  bytes[13] = flags;
  bytes.writeUInt16LE(zero, 14);
  return bytes;
}

function decode(bytes, step = bytes.length) {
  const decoder = new Decoder();
  const frames = [];
  for (let at = 0; at < bytes.length; at += step) {
    decoder.feed(bytes.subarray(at, at + step));
    for (let frame = decoder.next(); frame !== null; frame = decoder.next()) {
      frames.push({ ...frame, payload: Buffer.from(frame.payload) });
    }
  }
  return frames;
}

test('a frame is the bytes that the page draws', () => {
  const bytes = encode(0x01020304, Kind.Data, Buffer.from('hi'));
  assert.equal(bytes.toString('hex'), '02000000' + '00000000' + '04030201' + '13' + '00' + '0000' + '6869');
});

test('kinds have the numbers and limits of the page', () => {
  const mib = 1 << 20;
  const page = {
    Start: [1, 8 * mib], Result: [2, 8 * mib], Call: [3, 8 * mib], Reply: [4, 64 * mib], Log: [5, mib],
    Signal: [6, 4096], Output: [7, 65536], Started: [8, 0], Rehearse: [9, 0], Open: [16, 4096], Opened: [17, 4096],
    Refused: [18, 4096], Data: [19, 65536], End: [20, 0], Reset: [21, 0], Window: [22, 4],
    ToGuest: [64, mib], FromGuest: [65, mib],
  };
  const found = Object.entries(Kind).map(([name, kind]) => [name, [kind, MESSAGE_BYTES_MAX[kind]]]);
  assert.deepEqual(Object.fromEntries(found), page);
});

test('what is encoded is decoded, however the bytes arrive', () => {
  const sent = [[0, Kind.Call, 'a'.repeat(300)], [7, Kind.Data, ''], [0, Kind.Started, ''], [9, Kind.Window, 'abcd']];
  const bytes = Buffer.concat(sent.map(([channel, kind, text]) => encode(channel, kind, Buffer.from(text))));
  for (const step of [1, 3, 16, 17, 64, bytes.length]) {
    const frames = decode(bytes, step).map(({ channel, kind, payload }) => [channel, kind, payload.toString()]);
    assert.deepEqual(frames, sent, `in pieces of ${step}`);
  }
});

test('bad headers are refused before the payload is awaited', () => {
  const cases = [
    [header({ length: 65_537 }), 'too_long'],
    [header({ kind: 200 }), 'unknown_kind'],
    [header({ kind: 0 }), 'unknown_kind'],
    [header({ flags: 2 }), 'unknown_flags'],
    [header({ zero: 1 }), 'unknown_flags'],
    [header({ kind: Kind.Started, length: 1 }), 'message_too_long'],
    [header({ kind: Kind.Window, length: 5 }), 'message_too_long'],
    [header({ kind: Kind.Signal, length: 4097 }), 'message_too_long'],
  ];
  for (const [bytes, code] of cases) assert.throws(() => decode(bytes), { code }, code);
});

test('a message survives being cut', () => {
  for (const length of [0, 1, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MAX + 1, 3 * PAYLOAD_BYTES_MAX, 8 << 20]) {
    const message = Buffer.alloc(length, 'abcdefg');
    const assembler = new Assembler();
    const frames = decode(encode(0, Kind.Result, message));
    assert.equal(frames.length, Math.max(1, Math.ceil(length / PAYLOAD_BYTES_MAX)));
    const whole = frames.map((frame) => assembler.push(frame));
    assert.ok(whole.slice(0, -1).every((part) => part === null));
    assert.ok(whole.at(-1).payload.equals(message), `${length} bytes`);
  }
});

test('fragments of different kinds may interleave', () => {
  const assembler = new Assembler();
  const part = (kind, more, text) => assembler.push({ channel: 0, kind, more, payload: Buffer.from(text) });
  assert.equal(part(Kind.Reply, true, 'a'), null);
  assert.equal(part(Kind.Signal, false, 's').payload.toString(), 's');
  assert.equal(part(Kind.Start, true, 'x'), null);
  assert.equal(part(Kind.Reply, false, 'b').payload.toString(), 'ab');
  assert.equal(part(Kind.Start, false, 'y').payload.toString(), 'xy');
});

test('a message without end is refused at its limit', () => {
  const assembler = new Assembler();
  const piece = { channel: 0, kind: Kind.Log, more: true, payload: Buffer.alloc(PAYLOAD_BYTES_MAX) };
  for (let n = 0; n < 16; n++) assembler.push(piece);
  assert.throws(() => assembler.push(piece), { code: 'message_too_long' });
});

test('fragments on an egress channel are refused', () => {
  const piece = { channel: 9, kind: Kind.Data, more: true, payload: Buffer.alloc(8) };
  assert.throws(() => new Assembler().push(piece), { code: 'message_too_long' });
});

test('more than a kind may have is not even encoded', () => {
  assert.throws(() => encode(0, Kind.Log, Buffer.alloc((1 << 20) + 1)), { code: 'message_too_long' });
  assert.throws(() => encode(0, Kind.Started, Buffer.alloc(1)), { code: 'message_too_long' });
});
