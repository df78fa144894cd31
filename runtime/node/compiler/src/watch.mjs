// A compiler that stays: every change of a file is bundled at once and told; what the types say comes after, from a
// thread of its own, so that nobody waits for it. One line of JSON on standard output for each:
//
//   {step: 'build', ok: true, changed: [names], all: boolean, notes, took_ms}     files and manifest.json are in OUT
//   {step: 'build' | 'types', ok: false, errors}       {step: 'types', ok: true, errors: []}

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { keeping } from './builders.mjs';
import { bundleAll } from './bundle.mjs';
import { discover } from './discover.mjs';
import { CompileError, internalError, throwIfAny } from './errors.mjs';
import { inspectAll, startedAhead } from './inspect.mjs';
import { specOf } from './spec.mjs';

/** An editor writes a file in several steps. */
const SETTLE_MS = 25;
const IGNORED = /(^|\/)(node_modules|\.git|\.bulkhead)(\/|$)|~$|\.swp$|\.test\.json$/;
/** Without types a name is all there is to go by; a deploy looks closer. */
const NAMES_SECRETS = /\b(?:getConnection|getToken)\b/;

/**
 * @param {{project: string, out: string, say: (line: object) => void, write: (functions: object[]) => void}} io
 * @returns {Promise<never>} ends with the process
 */
export async function watch({ project, say, write }) {
  const kept = new Map();
  const means = { builder: keeping(), spare: startedAhead() };
  const types = typesThread(project, say);
  let changed = new Set();
  let timer;
  let running = Promise.resolve();
  const turn = async (since = performance.now()) => {
    const files = changed;
    changed = new Set();
    try {
      const { functions, build } = await rebuilt(project, kept, files, means);
      write(functions);
      say({ step: 'build', ok: true, ...build, took_ms: Math.round(performance.now() - since) });
      types(functions.map(({ fn }) => fn));
    } catch (error) {
      // They are still to be built, by whichever save mends it: that may be one of another file.
      for (const file of files) changed.add(file);
      const errors = error instanceof CompileError ? error.errors : [internalError(String(error?.stack ?? error))];
      say({ step: 'build', ok: false, errors });
    }
  };
  fs.watch(project, { recursive: true }, (_, name) => {
    if (name === null || IGNORED.test(name)) return;
    changed.add(path.join(project, name));
    const since = performance.now();
    clearTimeout(timer);
    timer = setTimeout(() => (running = running.then(() => turn(since))), SETTLE_MS);
  });
  // A save from here on gets a turn of its own, after this one: of two at once, the older could be told last.
  running = turn();
  await running;
}

/**
 * What is to be live now. Functions whose files are as they were are not touched.
 * @param {Map<string, object>} kept by name, from one turn to the next
 * @param {Set<string>} files that changed; empty the first time
 * @param {object} means how to build, and what loads what was built
 */
export async function rebuilt(project, kept, files, { builder, spare } = {}) {
  const found = discover(project);
  throwIfAny(found.errors);
  const known = new Set([...kept.values()].flatMap(({ inputs }) => inputs));
  // A file that nobody had imported can be what an import looks for now.
  const fresh = [...files].some((file) => !known.has(file));
  const stale = found.functions.filter((fn) => {
    const before = kept.get(fn.fileName);
    return before === undefined || fresh || before.inputs.some((file) => files.has(file));
  });
  const namesSecrets = (own) => own.some((file) => NAMES_SECRETS.test(fs.readFileSync(file, 'utf8')));
  // Beside each other: somebody waits.
  const inspecting = inspectAll(project, stale, builder, spare).catch((error) => ({ errors: [internalError(String(error))] }));
  const bundles = await bundleAll(project, stale, namesSecrets, builder);
  const inspected = await inspecting;
  throwIfAny(bundles.errors);
  throwIfAny(inspected.errors);
  const built = stale.map((fn, place) => ({ fn, ...bundles.bundles[place], declared: inspected.declarations[place] }));
  for (const one of built) one.hash = crypto.createHash('sha256').update(one.code).digest('hex');
  const different = built.filter(({ fn, hash }) => kept.get(fn.fileName)?.hash !== hash);
  const notes = [];
  const errors = [];
  different.forEach((one) => {
    const { spec, problems, remarks } = specOf(one.fn, one.declared, one.uses);
    Object.assign(one, { spec, name: one.fn.fileName });
    errors.push(...problems);
    notes.push(...remarks);
  });
  throwIfAny(errors);
  for (const one of different) kept.set(one.name, one);
  const names = new Set(found.functions.map(({ fileName }) => fileName));
  const gone = [...kept.keys()].filter((name) => !names.has(name));
  for (const name of gone) kept.delete(name);
  const functions = found.functions.map(({ fileName }) => kept.get(fileName));
  return { functions, build: { changed: different.map(({ name }) => name), all: gone.length > 0, notes } };
}

/** Checks types apart from what builds; a request that comes while it checks is answered with the newest. */
function typesThread(project, say) {
  const worker = new Worker(new URL('./types-thread.mjs', import.meta.url), { workerData: { project } });
  let busy = false;
  let next;
  const ask = (functions) => {
    busy = true;
    worker.postMessage(functions);
  };
  worker.on('message', (errors) => {
    say({ step: 'types', ok: errors.length === 0, errors });
    busy = false;
    if (next !== undefined) ask(next);
    next = undefined;
  });
  return (functions) => {
    if (busy) next = functions;
    else ask(functions);
  };
}
