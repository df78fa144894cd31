// Loads each function in a process of its own, to read what it declares. The author's own zod turns the schemas into
// JSON Schema: only it knows them all.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fork } from 'node:child_process';
import { once } from './builders.mjs';
import { bundleOptions } from './bundle.mjs';
import { RUNTIME, SDK, SDK_NAMES } from './paths.mjs';

const LOAD_MS_MAX = 30_000;
const AT_ONCE = 2;
const STDERR_BYTES_MAX = 1 << 20;
const CHILD = path.join(RUNTIME, 'compiler/src/inspect-child.cjs');

/**
 * @param {typeof once} builder @param {() => import('node:child_process').ChildProcess} spare
 * @returns {Promise<{declarations: object[], errors: import('./errors.mjs').Finding[]}>} in the order of functions
 */
export async function inspectAll(project, functions, builder = once, spare = start) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-compile-'));
  const declarations = new Array(functions.length);
  const errors = [];
  const waiting = [...functions.entries()];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [place, fn] = next;
      const read = await inspectOne(project, fn, path.join(directory, `${place}.cjs`), builder, spare);
      if (read.error) errors.push({ file: fn.relative, line: 1, ...read.error });
      else declarations[place] = read.declaration;
    }
  };
  try {
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
  return { declarations, errors };
}

/** A build that takes the declaration and the zod that it was made with. */
function inspecting(project, fn) {
  const options = {
    ...bundleOptions(project),
    stdin: {
      contents: `export { default as declaration } from ${JSON.stringify(fn.file)};\nexport * as zod from 'zod';\n`,
      resolveDir: path.dirname(fn.file),
      loader: 'ts',
    },
    alias: Object.fromEntries(SDK_NAMES.map((name) => [name, SDK])),
    outfile: path.join(project, `${fn.fileName}.cjs`),
  };
  return { options, state: new Set() };
}

async function inspectOne(project, fn, file, builder, spare) {
  const { result } = await builder(`inspect ${fn.fileName}`, () => inspecting(project, fn));
  fs.writeFileSync(file, result.outputFiles[0].contents);
  const answer = `${file}.json`;
  const { failure, text } = await load(spare(), { bundle: file, answer });
  if (!fs.existsSync(answer)) {
    const message = failure === 'timeout' ? `The file did not load within ${LOAD_MS_MAX / 1000} s` : `The file does not load: ${text}`;
    return { error: { code: 'does_not_load', message, todo: 'Move what takes long or may fail from the top level into the handler' } };
  }
  return JSON.parse(fs.readFileSync(answer, 'utf8'));
}

/** A process that waits to be told what to load. */
function start() {
  return fork(CHILD, [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
}

/** Processes that are started ahead: who saves a file does not wait for Node.js to begin. One is used once. */
export function startedAhead() {
  const ahead = () => {
    const child = start();
    // It waits for us, not we for it.
    child.unref();
    child.channel.unref();
    child.stderr.unref();
    return child;
  };
  let next = ahead();
  return () => {
    const child = next.exitCode === null && next.connected ? next : start();
    for (const part of [child, child.channel, child.stderr]) part.ref();
    next = ahead();
    return child;
  };
}

function load(child, what) {
  return new Promise((done) => {
    const said = [];
    let bytes = 0;
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, LOAD_MS_MAX);
    child.stderr.on('data', (piece) => {
      bytes += piece.length;
      if (bytes <= STDERR_BYTES_MAX) said.push(piece);
    });
    child.on('error', (error) => said.push(Buffer.from(String(error))));
    child.on('close', (code) => {
      clearTimeout(timer);
      const failure = timedOut ? 'timeout' : code === 0 ? undefined : 'failed';
      done({ failure, text: Buffer.concat(said).toString().trim().split('\n').slice(-6).join(' | ') });
    });
    child.send(what, (error) => error && child.kill('SIGKILL'));
  });
}
