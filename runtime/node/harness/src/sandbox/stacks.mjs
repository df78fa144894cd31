// Stacks as the author knows them: their files, their lines, and nothing of the bundle, its packages, the harness or
// Node.js. What it takes is the last line of the bundle (compiler/src/stacks.mjs), read when a stack is first looked at.

import fs from 'node:fs';
import { SourceMap } from 'node:module';

const MARK = '//# bulkhead-stacks=';
/** Bytes at the bundle's end among which the comment is looked for. */
const TAIL_BYTES = 4 * 1024 * 1024;
/** Frames that are captured: those of the harness and of packages are taken out of them. */
const FRAMES_MAX = 30;
/** Frames of a stack that has none of the author's. */
const OTHERS_MAX = 6;

/** From now on stacks of what is thrown by this bundle are told in its author's terms. */
export function tellStacksOf(bundle) {
  let map;
  Error.stackTraceLimit = FRAMES_MAX;
  Error.prepareStackTrace = (error, sites) => {
    try {
      map ??= authorsMap(bundle);
      return [headOf(error), ...framesOf(sites, bundle, map)].join('\n    at ');
    } catch {
      return [headOf(error), ...sites.map(String)].join('\n    at ');
    }
  };
}

function authorsMap(bundle) {
  const file = fs.openSync(bundle, 'r');
  try {
    const { size } = fs.fstatSync(file);
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    fs.readSync(file, tail, 0, tail.length, size - tail.length);
    const text = tail.toString('latin1');
    const at = text.lastIndexOf(MARK);
    if (at < 0) return null;
    const json = Buffer.from(text.slice(at + MARK.length).trim(), 'base64').toString();
    return new SourceMap(JSON.parse(json));
  } finally {
    fs.closeSync(file);
  }
}

function headOf(error) {
  try {
    return Error.prototype.toString.call(error);
  } catch {
    return 'Error';
  }
}

function framesOf(sites, bundle, map) {
  const own = map === null ? [] : sites.map((site) => frameOf(site, bundle, map)).filter((frame) => frame !== undefined);
  return own.length > 0 ? own : sites.slice(0, OTHERS_MAX).map(String);
}

/** A frame in a file of the author's, or undefined. */
function frameOf(site, bundle, map) {
  if (site.getFileName() !== bundle) return undefined;
  const [line, column] = [site.getLineNumber(), site.getColumnNumber()];
  const { originalSource, originalLine, originalColumn } = map.findEntry(line - 1, column - 1);
  if (originalSource === undefined || originalLine === undefined) return undefined;
  const place = `${originalSource}:${originalLine + 1}:${originalColumn + 1}`;
  return String(site).replace(`${bundle}:${line}:${column}`, () => place);
}
