// Routes TCP to the egress gateway and lookups to the platform: plumbing, for code that knows nothing of sandboxes.
// Nothing here protects anything: there is no network interface, and the gateway decides on the host.

import dns from 'node:dns';
import net from 'node:net';
import tls from 'node:tls';
import { attach } from './handle.mjs';
import { patchDatagrams } from './datagram.mjs';
import { connectError, resetError } from './errors.mjs';
import { patchLookups } from './lookup.mjs';

const { connect: connectNatively } = net.Socket.prototype;

let link = null;

/** From now on connections go over `to`; before that there is no network. */
export function connectOver(to) {
  link = to;
}

export function patchNetwork() {
  net.Socket.prototype.connect = function connect(...args) {
    const [options, done] = Array.isArray(args[0]) ? args[0] : net._normalizeArgs(args);
    // Unix sockets stay as they are: they lead nowhere but to the sandbox itself.
    if (options.path || options.port === undefined) return connectNatively.apply(this, args);
    if (done) this.once('connect', done);
    connectSocket(this, options);
    return this;
  };
  patchLookups();
  patchDatagrams();
}

function connectSocket(socket, options) {
  const port = portOf(options.port);
  const host = options.host || 'localhost';
  if (socket.write !== net.Socket.prototype.write) socket.write = net.Socket.prototype.write;
  socket.connecting = true;
  socket._host = host;
  // An author's own lookup is kept to; otherwise the gateway resolves the name and judges what it finds.
  if (typeof options.lookup !== 'function' || net.isIP(host) !== 0 || options.lookup === dns.lookup) {
    open(socket, host, port, host);
    return;
  }
  options.lookup(host, { family: options.family, hints: options.hints, all: false }, (error, address) => {
    if (socket.destroyed || !socket.connecting) return;
    const found = Array.isArray(address) ? address[0]?.address : address;
    if (error) socket.destroy(error);
    else open(socket, found, port, host);
  });
}

function open(socket, host, port, name) {
  if (link === null) {
    const refused = { code: 'ENETUNREACH', message: 'there is no network while the bundle loads' };
    process.nextTick(() => socket.destroy(connectError(refused, host, port)));
    return;
  }
  const events = {
    opened: (address) => opened(socket, address, name),
    refused: (refused) => socket.destroy(connectError(refused, host, port)),
    reset: () => socket.destroy(resetError()),
  };
  attach(socket, link, { host, port }, events);
  // TLS notes its handle a second time, for its own use; its constructor made one that is closed now.
  if (socket instanceof tls.TLSSocket) socket.ssl = socket._handle;
  socket.connecting = true;
  socket._unrefTimer();
}

/** What Node does when a TCP connection is there. */
function opened(socket, { address, port }, name) {
  if (socket.destroyed) return;
  socket.connecting = false;
  socket._sockname = null;
  socket._peername = null;
  socket._unrefTimer();
  socket.emit('lookup', null, address, net.isIP(address), name);
  socket.emit('connect');
  socket.emit('ready');
  if (!socket.isPaused() && !socket.destroyed) socket.read(0);
}

function portOf(port) {
  const number = typeof port === 'string' && port.trim() !== '' ? Number(port) : port;
  if (Number.isInteger(number) && number >= 0 && number < 65536) return number;
  const error = new RangeError(`options.port should be >= 0 and < 65536. Received ${String(port)}.`);
  throw Object.assign(error, { code: 'ERR_SOCKET_BAD_PORT' });
}
