import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import zlib from 'node:zlib';
import { execFile } from 'node:child_process';
import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash, createHmac, generateKeyPair, pbkdf2, randomUUID, scrypt } from 'node:crypto';
import dns from 'node:dns';
import { setTimeout as sleep } from 'node:timers/promises';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import axios from 'axios';
import { createAction } from 'bulkhead';
import { z } from 'zod';

const FEATURE_MS_MAX = 10_000;

interface Targets {
  http: string;
  https?: string | undefined;
}

interface Wasm {
  instantiate(code: Uint8Array): Promise<{ instance: { exports: Record<string, (...args: number[]) => number> } }>;
}

type Feature = (targets: Targets) => Promise<string>;

function equal(found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${String(found)} instead of ${String(wanted)}`);
}

/** Reads a body with Node's own client. */
function body(client: typeof http | typeof https, url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = client === https ? { rejectUnauthorized: false } : {};
    const request = client.get(url, options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => (text += piece)).on('end', () => resolve(text));
    });
    request.on('error', reject);
  });
}

function compute(code: string): Promise<number> {
  return new Promise((resolve, reject) => {
    new Worker(code, { eval: true }).on('message', resolve).on('error', reject);
  });
}

/** Features that need an HTTP server: `http` answers GET /status with {"ok": true} and echoes what is posted to /echo. */
const NETWORK: Record<string, Feature> = {
  fetch: async ({ http: url }) => {
    const response = await fetch(`${url}/echo`, { method: 'POST', body: JSON.stringify({ a: 1 }) });
    equal(((await response.json()) as { body: { a: number } }).body.a, 1);
    return `status ${response.status}`;
  },
  http: async ({ http: url }) => {
    equal(await body(http, `${url}/status`), '{"ok":true}');
    const agent = new http.Agent({ keepAlive: true });
    for (let n = 0; n < 3; n++) await new Promise((done, fail) => http.get(`${url}/status`, { agent }, (r) => r.resume().on('end', done)).on('error', fail));
    agent.destroy();
    return 'once, and three times over one connection';
  },
  https: async ({ https: url }) => (url === undefined ? 'not asked for' : body(https, url)),
  'fetch over https': async ({ https: url }) => {
    if (url === undefined) return 'not asked for';
    // The server of a test has a certificate of its own making.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
    const { status } = await fetch(url);
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    return `status ${status}`;
  },
  axios: async ({ http: url }) => {
    const { data } = await axios.post(`${url}/echo`, { a: 2 });
    equal(data.body.a, 2);
    return `axios ${axios.VERSION}`;
  },
  'refused connection': async () => {
    const error = await fetch('http://127.0.0.1:47/').then(() => undefined, (e) => e.cause ?? e);
    if (!['ECONNREFUSED', 'EGRESS_DENIED'].includes(error?.code)) throw error;
    return error.code;
  },
};

const LOCAL: Record<string, Feature> = {
  timers: async () => {
    const before = performance.now();
    await sleep(20);
    await new Promise((done) => setImmediate(done));
    const interval = await new Promise<number>((done) => {
      let ticks = 0;
      const timer = setInterval(() => {
        if (++ticks < 3) return;
        clearInterval(timer);
        done(ticks);
      }, 2);
    });
    equal(interval, 3);
    if (performance.now() - before < 19) throw new Error('time flies');
    return 'timeout, immediate, interval';
  },
  streams: async () => {
    await pipeline(fs.createReadStream(process.execPath, { end: 999_999 }), fs.createWriteStream('copy'));
    equal(fs.statSync('copy').size, 1_000_000);
    return '1 MB through a pipeline';
  },
  'fs in scratch': async () => {
    await fs.promises.mkdir('a/b', { recursive: true });
    await fs.promises.writeFile('a/b/c', 'text');
    equal(await fs.promises.readFile(`${process.env.TMPDIR}/a/b/c`, 'utf8'), 'text');
    fs.writeFileSync('/tmp/hard-coded', 'x');
    await fs.promises.rm('a', { recursive: true });
    return process.cwd();
  },
  zlib: async () => {
    const packed = await promisify(zlib.gzip)(Buffer.alloc(1_000_000));
    equal((await promisify(zlib.gunzip)(packed)).length, 1_000_000);
    equal(zlib.brotliDecompressSync(zlib.brotliCompressSync('a')).toString(), 'a');
    return `${packed.length} bytes`;
  },
  crypto: async () => {
    equal(createHash('sha256').update('').digest('hex').slice(0, 8), 'e3b0c442');
    equal(createHmac('sha256', 'k').update('').digest('hex').length, 64);
    equal((await promisify(scrypt)('a', 'b', 32) as Buffer).length, 32);
    equal((await promisify(pbkdf2)('a', 'b', 1000, 32, 'sha512')).length, 32);
    equal((await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })).privateKey.type, 'private');
    return randomUUID();
  },
  'web crypto': async () => {
    const key = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, true, ['encrypt']);
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv: new Uint8Array(12) }, key, new Uint8Array(8));
    return `${sealed.byteLength} bytes`;
  },
  worker_threads: async () => {
    equal(await compute('require("worker_threads").parentPort.postMessage(6 * 7)'), 42);
    return 'one worker';
  },
  'dns.lookup': async () => {
    const found = await promisify(dns.lookup)('localhost').catch((error) => error);
    const promised = await dns.promises.lookup('localhost').catch((error) => error);
    equal(promised.code, found.code);
    if (found.address === undefined && !['EGRESS_DENIED', 'ENOTFOUND'].includes(found.code)) throw found;
    return found.address ?? found.code;
  },
  child_process: async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['-p', '1 + 1']);
    equal(stdout.trim(), '2');
    return process.execPath;
  },
  wasm: async () => {
    const code = Uint8Array.from([
      0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1,
      7, 0, 32, 0, 32, 1, 106, 11,
    ]);
    // Its types come with those of browsers only.
    const { WebAssembly } = globalThis as unknown as { WebAssembly: Wasm };
    const { instance } = await WebAssembly.instantiate(code);
    equal(instance.exports.add?.(2, 3), 5);
    return 'one module';
  },
  gc: async () => {
    let made = 0;
    for (let round = 0; round < 20; round++) made += Array.from({ length: 100_000 }, (_, i) => ({ i })).length;
    return `${made} objects`;
  },
  'async local storage': async () => {
    const storage = new AsyncLocalStorage<number>();
    equal(await storage.run(5, async () => (await sleep(1), storage.getStore())), 5);
    return 'kept over await';
  },
  intl: async () => new Intl.DateTimeFormat('de', { timeZone: 'Europe/Paris', dateStyle: 'full' }).format(0),
  'fs.watch': async () => {
    const watcher = fs.watch('.');
    const changed = new Promise((done) => watcher.once('change', done));
    fs.writeFileSync('watched', 'x');
    await changed;
    watcher.close();
    return 'one change';
  },
};

async function timed(feature: Feature, targets: Targets) {
  const begun = performance.now();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, fail) => {
    timer = setTimeout(() => fail(new Error(`took longer than ${FEATURE_MS_MAX} ms`)), FEATURE_MS_MAX);
  });
  try {
    const found = await Promise.race([feature(targets), late]);
    return { works: true, found, ms: Math.round(performance.now() - begun) };
  } catch (error) {
    const cause = (error as Error).cause;
    return { works: false, found: `${error}${cause ? ` (${cause})` : ''}`, ms: Math.round(performance.now() - begun) };
  } finally {
    clearTimeout(timer);
  }
}

/** Tries what functions need of Node, and tells of each by name whether it works. */
export default createAction({
  description: 'Tries the features of Node.js',
  input: z.object({ http: z.url().optional(), https: z.url().optional(), only: z.array(z.string()).optional() }).nullish(),
  output: z.record(z.string(), z.object({ works: z.boolean(), found: z.string(), ms: z.number() })),
  exec: async (_, input) => {
    const all = { ...LOCAL, ...(input?.http ? NETWORK : {}) };
    const names = input?.only ?? Object.keys(all);
    const found: Record<string, Awaited<ReturnType<typeof timed>>> = {};
    for (const name of names) {
      const feature = all[name];
      if (feature) found[name] = await timed(feature, { http: input?.http ?? '', https: input?.https });
    }
    return found;
  },
});
