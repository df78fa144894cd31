// Loads each function in a process of its own, to read what it declares. The author's own zod turns the schemas into
// JSON Schema: only it knows them all.

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execFile } from 'node:child_process';
import { build } from 'esbuild';
import { bundleOptions } from './bundle.mjs';
import { RUNTIME, SDK, SDK_NAMES } from './paths.mjs';

const LOAD_MS_MAX = 30_000;
const AT_ONCE = 2;
const CHILD = path.join(RUNTIME, 'compiler/src/inspect-child.cjs');

/** @returns {Promise<{declarations: object[], errors: import('./errors.mjs').Finding[]}>} in the order of functions */
export async function inspectAll(project, functions) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-compile-'));
  const declarations = new Array(functions.length);
  const errors = [];
  const waiting = [...functions.entries()];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [place, fn] = next;
      const read = await inspectOne(project, fn, path.join(directory, `${place}.cjs`));
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

async function inspectOne(project, fn, file) {
  const result = await build({
    ...bundleOptions(project),
    stdin: {
      contents: `export { default as declaration } from ${JSON.stringify(fn.file)};\nexport * as zod from 'zod';\n`,
      resolveDir: path.dirname(fn.file),
      loader: 'ts',
    },
    alias: Object.fromEntries(SDK_NAMES.map((name) => [name, SDK])),
    outfile: file,
  });
  fs.writeFileSync(file, result.outputFiles[0].contents);
  const answer = `${file}.json`;
  const { failure, text } = await load([CHILD, file, answer]);
  if (!fs.existsSync(answer)) {
    const message = failure === 'timeout' ? `The file did not load within ${LOAD_MS_MAX / 1000} s` : `The file does not load: ${text}`;
    return { error: { code: 'does_not_load', message, todo: 'Move what takes long or may fail from the top level into the handler' } };
  }
  return JSON.parse(fs.readFileSync(answer, 'utf8'));
}

function load(args) {
  const options = { timeout: LOAD_MS_MAX, killSignal: 'SIGKILL', maxBuffer: 1 << 20 };
  return new Promise((done) => {
    execFile(process.execPath, args, options, (error, stdout, stderr) => {
      const failure = error?.killed ? 'timeout' : error ? 'failed' : undefined;
      done({ failure, text: stderr.trim().split('\n').slice(-6).join(' | ') });
    });
  });
}
