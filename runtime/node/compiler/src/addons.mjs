// Native addons: which import of the author's brings one along.

import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { packageOf } from './typecheck.mjs';

const isPackages = (file) => file.includes(`${path.sep}node_modules${path.sep}`);

/** The package that a file belongs to. */
export function packageAt(file) {
  const inside = file.split(`node_modules${path.sep}`).at(-1);
  return isPackages(file) ? packageOf(inside.split(path.sep).join('/')) : path.basename(file);
}

/**
 * @param {Iterable<string>} culprits files that load compiled code
 * @returns {import('./errors.mjs').Finding[]} one for each package, at the import that leads there
 */
export function addonErrors(project, fn, metafile, culprits) {
  const graph = new Map();
  for (const [file, { imports }] of Object.entries(metafile.inputs)) {
    graph.set(path.resolve(project, file), imports.filter(({ external }) => !external));
  }
  const byPackage = new Map([...culprits].map((file) => [packageAt(file), file]));
  return [...byPackage].map(([name, culprit]) => addonError(name, fn, project, wayTo(project, fn.file, culprit, graph)));
}

/** From the function's file to the culprit: the last file of the author's, what it imports, and the packages between. */
function wayTo(project, entry, culprit, graph) {
  const cameFrom = new Map([[entry, undefined]]);
  const waiting = [entry];
  for (let file = waiting.shift(); file !== undefined && !cameFrom.has(culprit); file = waiting.shift()) {
    for (const { path: to, original } of graph.get(file) ?? []) {
      const next = path.resolve(project, to);
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, { file, original });
      waiting.push(next);
    }
  }
  const packages = [];
  for (let at = culprit, step = cameFrom.get(at); step !== undefined; at = step.file, step = cameFrom.get(at)) {
    const name = packageAt(at);
    if (packages[0] !== name) packages.unshift(name);
    if (!isPackages(step.file)) return { file: step.file, specifier: step.original, packages };
  }
  return { file: isPackages(culprit) ? entry : culprit, packages };
}

function addonError(name, fn, project, { file, specifier, packages }) {
  const through = packages.length > 1 ? ` by way of ${packages.slice(0, -1).join(' and ')}` : '';
  return {
    code: 'native_addon',
    file: path.relative(project, file),
    ...placeOfImport(file, specifier),
    message: `The package ${name} brings compiled code (a native addon), which cannot be part of a bundle; it is imported here${through}`,
    todo: `Use a package written in JavaScript or WebAssembly instead of ${packages[0] ?? name}`,
  };
}

/** Where a file imports something: the line of the import, import() or require(). */
function placeOfImport(file, specifier) {
  if (specifier === undefined) return { line: 1, column: 1 };
  const text = fs.readFileSync(file, 'utf8');
  const found = ts.preProcessFile(text, true, true).importedFiles.find(({ fileName }) => fileName === specifier);
  if (found === undefined) return { line: 1, column: 1 };
  const before = text.slice(0, found.pos).split('\n');
  return { line: before.length, column: before.at(-1).length + 1 };
}
