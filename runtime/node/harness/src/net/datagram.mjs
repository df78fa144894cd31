// UDP in a sandbox: questions to a name server, which the platform answers whatever server they are sent to. Packages
// that bring a resolver of their own work so; nothing else has a way out, and no datagram leaves.

import dgram from 'node:dgram';
import { Buffer } from 'node:buffer';
import { addresses } from './lookup.mjs';

const DNS_PORT = 53;
const HEADER_BYTES = 12;
const TYPES = { 1: 4, 28: 6 };
const CLASS_IN = 1;
/** Answers of one response: more do not fit into 512 bytes, the most that every client takes. */
const ANSWERS_MAX = 14;
const Code = { ok: 0, malformed: 1, failed: 2, unknown: 3, notImplemented: 4, refused: 5 };

const { send: sendNatively, connect: connectNatively } = dgram.Socket.prototype;
const connectedTo = new WeakMap();
const closed = new WeakSet();

export function patchDatagrams() {
  dgram.Socket.prototype.connect = function connect(port, address, callback) {
    if (Number(port) !== DNS_PORT) return connectNatively.call(this, port, address, callback);
    const done = typeof address === 'function' ? address : callback;
    connectedTo.set(this, typeof address === 'string' ? address : '127.0.0.1');
    process.nextTick(() => {
      this.emit('connect');
      done?.();
    });
  };
  dgram.Socket.prototype.send = function send(...args) {
    const sending = read(args, connectedTo.get(this));
    if (sending?.port !== DNS_PORT) return sendNatively.apply(this, args);
    const { bytes, address, done } = sending;
    this.once('close', () => closed.add(this));
    process.nextTick(() => done?.(null, bytes.length));
    answer(bytes).then((response) => deliver(this, response, address));
  };
}

/** The arguments, which come in the forms that Node takes: with offset and length or without, connected or not. */
function read(args, connected) {
  const done = args.find((argument) => typeof argument === 'function');
  const [message, ...rest] = args.filter((argument) => argument !== done);
  const whole = Array.isArray(message) ? Buffer.concat(message.map((piece) => Buffer.from(piece))) : bytesOf(message);
  if (whole === null) return null;
  const sliced = rest.length >= 3 || (connected !== undefined && rest.length === 2);
  const bytes = sliced ? whole.subarray(rest[0], rest[0] + rest[1]) : whole;
  const [port, address = '127.0.0.1'] = connected === undefined ? rest.slice(sliced ? 2 : 0) : [DNS_PORT, connected];
  return { bytes, port: Number(port), address, done };
}

function bytesOf(message) {
  if (typeof message === 'string') return Buffer.from(message);
  return ArrayBuffer.isView(message) ? Buffer.from(message.buffer, message.byteOffset, message.byteLength) : null;
}

function deliver(socket, response, address) {
  if (closed.has(socket) || response === null) return;
  const family = socket.type === 'udp6' ? 'IPv6' : 'IPv4';
  socket.emit('message', response, { address, family, port: DNS_PORT, size: response.length });
}

/** @param {Buffer} query @returns {Promise<Buffer | null>} null for what is no query at all */
export async function answer(query) {
  if (query.length < HEADER_BYTES || (query[2] & 0x80) !== 0) return null;
  const question = questionOf(query);
  if (question === null) return response(query, HEADER_BYTES, Code.malformed);
  const { name, type, qclass, end } = question;
  if ((query[2] & 0x78) !== 0 || TYPES[type] === undefined || qclass !== CLASS_IN) {
    return response(query, end, Code.notImplemented);
  }
  try {
    const found = await addresses(name, 0);
    const wanted = found.filter(({ family }) => family === TYPES[type]).slice(0, ANSWERS_MAX);
    return response(query, end, Code.ok, wanted.map(({ address }) => record(type, address)));
  } catch (error) {
    const codes = { ENOTFOUND: Code.unknown, EGRESS_DENIED: Code.refused };
    return response(query, end, codes[error.code] ?? Code.failed);
  }
}

/** The one question; null when there is another number of them, or it is not whole. */
function questionOf(query) {
  if (query.readUInt16BE(4) !== 1) return null;
  const labels = [];
  let at = HEADER_BYTES;
  while (at < query.length && query[at] !== 0) {
    const length = query[at];
    if (length > 63 || at + 1 + length > query.length) return null;
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  if (at + 5 > query.length || labels.length === 0) return null;
  return { name: labels.join('.'), type: query.readUInt16BE(at + 1), qclass: query.readUInt16BE(at + 3), end: at + 5 };
}

function response(query, end, code, records = []) {
  const header = Buffer.from(query.subarray(0, HEADER_BYTES));
  // A response, with the question's wish for recursion, which is granted.
  header[2] = 0x80 | (query[2] & 0x79);
  header[3] = 0x80 | code;
  header.writeUInt16BE(end > HEADER_BYTES ? 1 : 0, 4);
  header.writeUInt16BE(records.length, 6);
  header.writeUInt32BE(0, 8);
  return Buffer.concat([header, query.subarray(HEADER_BYTES, end), ...records]);
}

/** An address of the name that was asked for. It may not be kept: what is allowed can change. */
function record(type, address) {
  const data = type === 1 ? Buffer.from(address.split('.').map(Number)) : ipv6Bytes(address);
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(CLASS_IN, 4);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

function ipv6Bytes(address) {
  const groups = (text) => (text === '' ? [] : text.split(':'));
  const [head, tail] = address.split('::').map(groups);
  const filled = tail === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
  const bytes = Buffer.alloc(16);
  filled.forEach((group, place) => bytes.writeUInt16BE(parseInt(group, 16), place * 2));
  return bytes;
}
