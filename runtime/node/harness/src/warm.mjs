// What Node loads or compiles lazily is touched in the zygote, so that no sandbox pays for it: the first fetch alone
// costs tens of milliseconds. Nothing here leaves a handle, a timer or a thread behind.

import crypto from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import fs from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { AsyncLocalStorage } from 'node:async_hooks';
import { pipeline } from 'node:stream/promises';
import { PassThrough, Readable } from 'node:stream';
import { CONTROL, encode, Kind } from './protocol/frame.mjs';
import { Link } from './protocol/link.mjs';
import { Writer } from './protocol/writer.mjs';
import { nothing, rehearse, rehearseHttp } from './rehearsal.mjs';
import { declareEnvironment } from './sandbox/environment.mjs';
import { reseed } from './sandbox/random.mjs';
import { enter } from './session.mjs';

const ROUNDS = 3;

function warmLanguage() {
  new Intl.DateTimeFormat('en-US', { timeZone: 'Europe/Paris', dateStyle: 'full', timeStyle: 'long' }).format(0);
  new Intl.NumberFormat('en-US', { style: 'currency', currency: 'EUR' }).format(1);
  new Date(0).toLocaleString();
  'é'.localeCompare('e');
  structuredClone({ at: new Date(0), map: new Map([[1, 2]]) });
  new TextDecoder().decode(new TextEncoder().encode('ü'));
  new URL('https://example.com/a?b=c').searchParams.get('b');
}

function warmLibraries() {
  crypto.createHash('sha256').update('a').digest('hex');
  crypto.createHmac('sha256', 'key').update('a').digest('base64');
  crypto.randomBytes(16);
  zlib.gunzipSync(zlib.gzipSync('a'));
  tls.createSecureContext();
  new http.Agent({ keepAlive: true }).destroy();
  new https.Agent({ keepAlive: true }).destroy();
  new AsyncLocalStorage().run(1, () => {});
}

async function warmFetch() {
  const response = await fetch('data:application/json,{"a":1}');
  await response.json();
  new Request('http://localhost/', { method: 'POST', body: '{}', headers: { a: 'b' } });
  new FormData().append('a', 'b');
  new AbortController().abort();
  // A refused connection walks through the whole of the HTTP clients up to the socket.
  await fetch('http://warm.invalid/').catch(() => {});
  await fetch('https://warm.invalid/').catch(() => {});
  for (const client of [http, https]) {
    await new Promise((done) => client.get(`${client === http ? 'http' : 'https'}://warm.invalid/`).on('error', done));
  }
}

/**
 * A whole life as a sandbox, from its first line to its exit, so that forks find its code compiled. Where there are no
 * abstract sockets, it does without.
 */
async function warmSession() {
  const name = `\0bulkhead-${crypto.randomBytes(16).toString('hex')}`;
  const sink = fs.openSync('/dev/null', 'w');
  const start = { execution: 'exe_rehearsal', attempt: 1, kind: 'action', input: null, output_bytes: 1024, context: {} };
  const life = Buffer.from(JSON.stringify({ ...start, seed: '00'.repeat(32) }));
  await new Promise((done) => {
    const server = net.createServer((worker) => {
      worker.on('error', () => {}).resume();
      worker.write(Buffer.concat([encode(CONTROL, Kind.Rehearse, Buffer.alloc(0)), encode(CONTROL, Kind.Start, life)]));
    });
    server.on('error', done);
    server.listen(name, () => {
      const socket = net.connect(name);
      const exit = () => {
        leave();
        socket.destroy();
        server.close(done);
      };
      const leave = enter(nothing, { scratch: process.cwd() }, exit, new Link(sink, socket));
    });
  });
  fs.closeSync(sink);
  declareEnvironment();
}

function warmOwn() {
  reseed(crypto.randomBytes(32).toString('hex'));
  Math.random();
  const sink = fs.openSync('/dev/null', 'w');
  const writer = new Writer(sink);
  for (let round = 0; round < ROUNDS; round++) writer.write(Buffer.alloc(1));
  writer.flush();
  fs.closeSync(sink);
}

async function warmStreams() {
  await pipeline(Readable.from(['a']), new PassThrough(), new PassThrough().resume());
  await new Promise((done) => setTimeout(done, 0));
  await new Promise((done) => setImmediate(done));
}

export async function warm() {
  warmLanguage();
  warmLibraries();
  await warmFetch();
  await rehearseHttp();
  await warmStreams();
  await warmSession();
  warmOwn();
  for (let round = 0; round < ROUNDS; round++) await rehearse();
}
