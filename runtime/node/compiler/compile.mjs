// Turns a project into what is deployed: one bundle per function and a manifest.
//
//   node runtime/node/compiler/compile.mjs --project DIR --out DIR [--json] [--function NAME]... [--no-type-check]
//   … --watch                        stays, and compiles anew at every change (src/watch.mjs), until its
//                                    input ends; OUT is removed then
//
// OUT/manifest.json is {functions: [{spec, bundle, sourceMap}]}, file names relative to OUT. With --json, standard
// output is one object: {ok: true, manifest, functions, notes} or {ok: false, errors: [{code, file, line, column,
// message, todo}]}; the exit status is 0 or 1. Nothing is written when anything is wrong.

import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { compile } from './src/pipeline.mjs';
import { CompileError, internalError } from './src/errors.mjs';
import { watch } from './src/watch.mjs';

const OPTIONS = {
  project: { type: 'string', default: '.' },
  out: { type: 'string' },
  json: { type: 'boolean', default: false },
  function: { type: 'string', multiple: true, default: [] },
  'no-type-check': { type: 'boolean', default: false },
  watch: { type: 'boolean', default: false },
};

function inWords({ file, line, column, code, message, todo }) {
  const place = file ? `${file}${line ? `:${line}:${column ?? 1}` : ''}: ` : '';
  return `${place}${message} [${code}]${todo ? `\n    ${todo}` : ''}`;
}

function report(asJson, outcome) {
  if (asJson) process.stdout.write(`${JSON.stringify(outcome)}\n`);
  else if (outcome.ok) process.stderr.write(`${outcome.functions} functions compiled to ${outcome.manifest}\n`);
  else process.stderr.write(`${outcome.errors.map(inWords).join('\n')}\n`);
  process.exitCode = outcome.ok ? 0 : 1;
}

async function main() {
  const { values } = parseArgs({ options: OPTIONS });
  if (values.out === undefined) throw new CompileError([internalError('--out DIR is missing')]);
  const project = fs.realpathSync(path.resolve(values.project));
  if (values.watch) {
    const out = path.resolve(values.out);
    // Whoever started us is gone, or may not remove what is ours.
    process.on('exit', () => fs.rmSync(out, { recursive: true, force: true }));
    process.stdin.on('end', () => process.exit(0)).resume();
    const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
    await watch({ project, say, write: (functions) => write(out, functions) });
    return undefined;
  }
  const { functions, notes } = await compile({
    project,
    only: values.function,
    typeCheck: !values['no-type-check'],
  });
  const manifest = write(path.resolve(values.out), functions);
  return { json: values.json, outcome: { ok: true, manifest, functions: functions.length, notes } };
}

function write(out, functions) {
  fs.mkdirSync(out, { recursive: true });
  const entries = functions.map(({ spec, name, code, sourceMap }) => {
    const entry = { spec, bundle: `${name}.js`, sourceMap: `${name}.js.map` };
    fs.writeFileSync(path.join(out, entry.bundle), code);
    fs.writeFileSync(path.join(out, entry.sourceMap), sourceMap);
    return entry;
  });
  const file = path.join(out, 'manifest.json');
  fs.writeFileSync(file, `${JSON.stringify({ functions: entries }, null, 2)}\n`);
  return file;
}

const wantsJson = process.argv.includes('--json');
try {
  const done = await main();
  if (done !== undefined) report(wantsJson, done.outcome);
} catch (error) {
  const errors = error instanceof CompileError ? error.errors : [internalError(String(error?.stack ?? error))];
  report(wantsJson, { ok: false, errors });
}
