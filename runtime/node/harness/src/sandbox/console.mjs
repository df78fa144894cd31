// console.*, process.stdout and process.stderr lead to a sink that is set later: the zygote's standard error while the
// bundle loads, the execution's log in a sandbox. They are replaced before the bundle loads, because it may keep
// references.

import fs from 'node:fs';
import { Console } from 'node:console';
import { Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';

const LEVELS = {
  debug: 'debug',
  trace: 'debug',
  log: 'info',
  info: 'info',
  dir: 'info',
  dirxml: 'info',
  table: 'info',
  group: 'info',
  groupCollapsed: 'info',
  groupEnd: 'info',
  time: 'info',
  timeEnd: 'info',
  timeLog: 'info',
  count: 'info',
  countReset: 'info',
  warn: 'warn',
  error: 'error',
  assert: 'error',
};

/** Longest text without a line's end that is kept back, in UTF-16 units. */
const PARTIAL_LENGTH_MAX = 64 * 1024;

const toStandardError = (level, message) => {
  try {
    fs.writeSync(2, `${message}\n`);
  } catch {
    // A full or closed standard error must not keep a bundle from loading.
  }
};

let sink = toStandardError;
const partials = [];

/** From now on lines go to `to(level, message)`. */
export function sinkTo(to) {
  sink = to ?? toStandardError;
}

/** Hands out lines whose end has not come. */
export function flushPartials() {
  for (const flush of partials) flush();
}

export function patchConsole() {
  let level = 'info';
  const collect = new Writable({
    decodeStrings: false,
    write(chunk, encoding, done) {
      const text = String(chunk);
      sink(level, text.endsWith('\n') ? text.slice(0, -1) : text);
      done();
    },
  });
  const inner = new Console({ stdout: collect, stderr: collect, colorMode: false });
  for (const [method, methodLevel] of Object.entries(LEVELS)) {
    console[method] = (...args) => {
      level = methodLevel;
      inner[method](...args);
    };
  }
  for (const [name, fd, streamLevel] of [['stdout', 1, 'info'], ['stderr', 2, 'error']]) {
    const stream = lines(fd, streamLevel);
    Object.defineProperty(process, name, { value: stream, configurable: true, enumerable: true });
  }
}

function lines(fd, level) {
  const decoder = new StringDecoder('utf8');
  let partial = '';
  const flush = () => {
    if (partial !== '') sink(level, partial);
    partial = '';
  };
  partials.push(flush);
  const stream = new Writable({
    write(chunk, encoding, done) {
      const all = (partial + decoder.write(chunk)).split('\n');
      partial = all.pop();
      for (const line of all) sink(level, line);
      if (partial.length > PARTIAL_LENGTH_MAX) flush();
      done();
    },
    // A stream that a package ended must go on working for the next one, as Node's own do.
    final: (done) => done(),
    destroy: (error, done) => done(error),
  });
  return Object.assign(stream, { fd, isTTY: false, columns: 80, _type: 'pipe' });
}
