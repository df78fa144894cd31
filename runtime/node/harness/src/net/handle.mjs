// What a net.Socket has below it: a handle. This one leads to an egress connection instead of a kernel socket.
//
// Node's own JSStream handle is used, the one that lets TLS run over a stream made in JavaScript: so TLS, HTTP/2 and
// the HTTP parser take it as they take a TCP handle, and net.Socket needs no change above it. The rejected way, to
// override the stream methods of net.Socket, breaks whatever looks for a handle.

import { Duplex } from 'node:stream';
import tls from 'node:tls';
import net from 'node:net';
import { Connection } from './connection.mjs';

const { setImmediate } = globalThis;
const UV_ECANCELED = -125;

/** Node's class, and the method by which Node itself gives a socket another handle; neither has a public name. */
function internals() {
  const wrapped = new tls.TLSSocket(new Duplex({ read() {}, write() {} }));
  const JSStream = wrapped._handle._parent.constructor;
  wrapped.on('error', () => {});
  wrapped.destroy();
  const symbols = Object.getOwnPropertySymbols(net.Socket.prototype);
  const reinitialize = symbols.find((symbol) => symbol.description === 'kReinitializeHandle');
  if (JSStream === undefined || reinitialize === undefined) {
    throw new Error(`Node.js ${process.version} is not the one this harness was made for: net.Socket has changed`);
  }
  return { JSStream, reinitialize };
}

const { JSStream, reinitialize } = internals();

/**
 * Gives a socket a handle that will be connected to `target`.
 * @param {net.Socket} socket
 * @param {import('../protocol/link.mjs').Link} link
 * @param {{host: string, port: number}} target
 * @param {{opened: Function, refused: Function, reset: Function}} events
 */
export function attach(socket, link, target, events) {
  const handle = new JSStream();
  let connected = false;
  let peer = {};
  const connection = new Connection(link, target, {
    opened(address) {
      connected = true;
      peer = address;
      events.opened(address);
    },
    refused: events.refused,
    reset: () => (connected ? events.reset() : events.refused({ code: 'ECONNRESET', message: 'broken off' })),
    data: (bytes) => handle.readBuffer(bytes),
    end: () => handle.emitEOF(),
  });
  Object.assign(handle, streamMethods(handle, connection), socketMethods(connection, () => peer));
  Object.defineProperty(handle, 'writeQueueSize', { get: () => connection.queuedBytes });
  socket[reinitialize](handle);
  return handle;
}

/** What Node's native code calls when somebody reads from or writes to the handle. */
function streamMethods(handle, connection) {
  let closing = false;
  let underWay = null;
  // Never within the call that began it: native code has not noted the request by then.
  const finish = (way, request, status) => {
    setImmediate(() => {
      if (underWay !== request) return;
      underWay = null;
      handle[way](request, status);
    });
  };
  return {
    isClosing: () => closing,
    onreadstart() {
      connection.resume();
      return 0;
    },
    onreadstop() {
      connection.pause();
      return 0;
    },
    onwrite(request, buffers) {
      underWay = request;
      connection.write(Buffer.concat(buffers), () => finish('finishWrite', request, 0));
      return 0;
    },
    onshutdown(request) {
      // A shutdown may come while a write is under way (TLS does so); it is finished on its own.
      connection.end(() => setImmediate(() => closing || handle.finishShutdown(request, 0)));
      return 0;
    },
    close(done) {
      closing = true;
      connection.close();
      setImmediate(() => {
        if (underWay !== null) handle.finishWrite(underWay, UV_ECANCELED);
        underWay = null;
        done?.();
      });
    },
  };
}

/** What net.Socket and TLS ask of a TCP handle. */
function socketMethods(connection, peer) {
  return {
    ref: () => connection.ref(),
    unref: () => connection.unref(),
    setNoDelay: () => 0,
    setKeepAlive: () => 0,
    setTypeOfService: () => 0,
    getTypeOfService: () => 0,
    getpeername(out) {
      const { address = '', port = 0 } = peer();
      Object.assign(out, { address, port, family: `IPv${net.isIP(address) || 4}` });
      return 0;
    },
    getsockname(out) {
      Object.assign(out, { address: '0.0.0.0', port: 0, family: 'IPv4' });
      return 0;
    },
  };
}
