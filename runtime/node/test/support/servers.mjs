// Servers on loopback for tests of the plumbing.

import fs from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';

async function listening(server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

/** A key and a certificate for web.test, made on the spot. */
function certificate() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-tls-'));
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(directory, name));
  const made = ['-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=web.test', '-addext', 'subjectAltName=DNS:web.test'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', ...made], { stdio: 'ignore' });
  const pair = { key: fs.readFileSync(key), cert: fs.readFileSync(cert) };
  fs.rmSync(directory, { recursive: true });
  return pair;
}

async function handle(request, response) {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of request) {
    hash.update(piece);
    bytes += piece.length;
  }
  const url = new URL(request.url, 'http://h');
  if (url.pathname === '/large') return response.end(Buffer.alloc(Number(url.searchParams.get('bytes')), 'abcdefgh'));
  if (url.pathname === '/redirect') return response.writeHead(302, { location: url.searchParams.get('to') }).end();
  if (url.pathname === '/silent') return undefined;
  const { host, authorization } = request.headers;
  const told = { path: request.url, method: request.method, host, authorization, bytes, sha256: hash.digest('hex'), port: request.socket?.remotePort };
  response.setHeader('content-type', 'application/json');
  return response.end(JSON.stringify(told));
}

/** Starts them all; `close` ends them. */
export async function servers() {
  const pair = certificate();
  const plain = http.createServer(handle);
  const secure = https.createServer(pair, handle);
  const second = http2.createSecureServer(pair, handle);
  // Says everything back; half-closes when the other side has.
  const echo = net.createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket));
  // Breaks off at the first byte.
  const rude = net.createServer((socket) => socket.once('data', () => socket.resetAndDestroy()).on('error', () => {}));
  const all = { http: plain, https: secure, http2: second, echo, rude };
  const ports = {};
  for (const [name, server] of Object.entries(all)) ports[name] = await listening(server);
  const open = new Set();
  for (const server of Object.values(all)) server.on('connection', (socket) => open.add(socket));
  const close = () => {
    for (const server of Object.values(all)) server.close();
    for (const socket of open) socket.destroy();
  };
  return { ports, cert: pair.cert.toString(), close };
}
