// The egress gateway, for tests: really connects, to addresses on loopback, under the same flow control.

import net from 'node:net';
import { CONNECTION_WINDOW_BYTES, Kind, PAYLOAD_BYTES_MAX } from '../../harness/src/protocol/frame.mjs';

/**
 * @param {{send: Function, opens: Array}} peer
 * @param {{hosts?: Record<string, string>, denied?: Record<string, object>}} rules where names lead, and what is refused
 */
export function serveEgress(peer, { hosts = {}, denied = {} }) {
  const open = new Map();
  return (channel, kind, payload) => {
    if (kind !== Kind.Open) open.get(channel)?.(kind, payload);
    else {
      const target = JSON.parse(payload.toString());
      peer.opens.push(target);
      const refused = denied[target.host];
      if (refused) peer.send(Kind.Refused, refused, channel);
      else open.set(channel, splice(peer, channel, { host: hosts[target.host] ?? target.host, port: target.port }));
    }
  };
}

function splice(peer, channel, target) {
  const socket = net.connect({ ...target, allowHalfOpen: true });
  peer.stream.on('close', () => socket.destroy());
  const flow = { sendable: CONNECTION_WINDOW_BYTES, waiting: [], connected: false };
  const window = (bytes) => {
    const grant = Buffer.alloc(4);
    grant.writeUInt32LE(bytes);
    peer.send(Kind.Window, grant, channel);
  };
  const pump = () => {
    while (flow.waiting.length > 0 && flow.sendable > 0) {
      const next = flow.waiting.shift();
      const length = Math.min(next.length, flow.sendable, PAYLOAD_BYTES_MAX);
      flow.sendable -= length;
      peer.send(Kind.Data, next.subarray(0, length), channel);
      if (length < next.length) flow.waiting.unshift(next.subarray(length));
    }
    if (flow.waiting.length > 0) socket.pause();
    else socket.resume();
    if (flow.ended && flow.waiting.length === 0 && !flow.endSent) {
      flow.endSent = true;
      peer.send(Kind.End, Buffer.alloc(0), channel);
    }
  };
  socket.on('connect', () => {
    flow.connected = true;
    peer.send(Kind.Opened, { address: socket.remoteAddress, port: socket.remotePort }, channel);
  });
  socket.on('data', (bytes) => {
    flow.waiting.push(bytes);
    pump();
  });
  socket.on('end', () => {
    flow.ended = true;
    pump();
  });
  socket.on('error', ({ code, message }) => {
    if (flow.connected) peer.send(Kind.Reset, Buffer.alloc(0), channel);
    else peer.send(Kind.Refused, { code, message }, channel);
  });
  return (kind, payload) => {
    if (kind === Kind.Data) socket.write(Buffer.from(payload), () => window(payload.length));
    else if (kind === Kind.End) socket.end();
    else if (kind === Kind.Reset) socket.destroy();
    else if (kind === Kind.Window) {
      flow.sendable += payload.readUInt32LE(0);
      pump();
    }
  };
}
