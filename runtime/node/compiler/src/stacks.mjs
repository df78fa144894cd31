// What a sandbox needs to tell an author's line from a bundle's: the source map, cut down to the author's own files, as
// the bundle's last line. The whole map of a bundle with zod has half a megabyte, this has some kilobytes; it is a
// comment, which costs a start nothing and is read when something is thrown (harness/src/sandbox/stacks.mjs).

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES = new Map([...DIGITS].map((digit, value) => [digit, value]));

/** The comment's beginning, as the harness looks for it. */
export const MARK = '//# bulkhead-stacks=';

/** The numbers of a segment (source map, revision 3: base 64, variable length, sign last). */
export function decoded(segment) {
  const numbers = [];
  let [value, shift] = [0, 0];
  for (const digit of segment) {
    const bits = VALUES.get(digit);
    value += (bits & 31) << shift;
    shift += 5;
    if (bits & 32) continue;
    numbers.push(value & 1 ? -(value >>> 1) : value >>> 1);
    [value, shift] = [0, 0];
  }
  return numbers;
}

function encoded(numbers) {
  let text = '';
  for (const number of numbers) {
    let rest = number < 0 ? (-number << 1) | 1 : number << 1;
    do {
      const bits = rest & 31;
      rest >>>= 5;
      text += DIGITS[rest > 0 ? bits | 32 : bits];
    } while (rest > 0);
  }
  return text;
}

/**
 * A source map with nothing in it but what `keep` keeps. Where something else begins, a segment without a source says so.
 * @param {{sources: string[], mappings: string}} map
 * @param {(source: string) => boolean} keep
 */
export function reduced(map, keep) {
  const places = map.sources.map((source) => (keep(source) ? 1 : 0));
  let count = 0;
  const renumbered = places.map((kept) => (kept ? count++ : -1));
  const at = { source: 0, line: 0, column: 0 };
  const said = { source: 0, line: 0, column: 0 };
  let open = false;
  const lines = map.mappings.split(';').map((line) => {
    let [column, saidColumn] = [0, 0];
    const kept = [];
    for (const segment of line === '' ? [] : line.split(',')) {
      const [columns, source, originalLine, originalColumn] = decoded(segment);
      column += columns;
      if (source !== undefined) {
        at.source += source;
        at.line += originalLine;
        at.column += originalColumn;
      }
      const number = source === undefined ? -1 : renumbered[at.source];
      if (number < 0) {
        if (open) kept.push(encoded([column - saidColumn]));
        if (open) saidColumn = column;
        open = false;
        continue;
      }
      kept.push(encoded([column - saidColumn, number - said.source, at.line - said.line, at.column - said.column]));
      saidColumn = column;
      Object.assign(said, { source: number, line: at.line, column: at.column });
      open = true;
    }
    return kept.join(',');
  });
  while (lines.at(-1) === '') lines.pop();
  return { version: 3, sources: map.sources.filter((_, place) => places[place]), names: [], mappings: lines.join(';') };
}

/**
 * The bundle with its author's part of the source map.
 * @param {Uint8Array} code @param {Uint8Array} sourceMap
 */
export function withStacks(code, sourceMap) {
  const map = JSON.parse(Buffer.from(sourceMap).toString());
  const own = reduced(map, isAuthors);
  return Buffer.concat([code, Buffer.from(`${MARK}${Buffer.from(JSON.stringify(own)).toString('base64')}\n`)]);
}

function isAuthors(source) {
  return !/(^|\/)node_modules\//.test(source) && !/(^|\/)sdk\/index\.js$/.test(source);
}
