// Which functions a project deploys: what its index.ts imports for its side effects.
//
//   import './github/syncs/issues.js';        integration, kind and name are the path

import fs from 'node:fs';
import path from 'node:path';
import ts from 'typescript';

/** Folder → kind. */
const KINDS = { actions: 'action', syncs: 'sync', webhooks: 'webhook', 'on-events': 'event' };
const LAYOUT = 'INTEGRATION/{actions,syncs,webhooks,on-events}/NAME.js';
const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/**
 * @typedef {{key: string, fileName: string, integration: string, kind: string, name: string, file: string, relative: string}} Found
 * @param {string} project absolute
 * @returns {{functions: Found[], errors: import('./errors.mjs').Finding[]}} sorted by key
 */
export function discover(project) {
  const index = ['index.ts', 'index.js', 'index.mts', 'index.mjs'].find((name) => fs.existsSync(path.join(project, name)));
  if (index === undefined) {
    const todo = `Write an index.ts that imports every function, as in: import './github/actions/create-issue.js'`;
    return { functions: [], errors: [{ code: 'no_index', file: 'index.ts', message: 'The project has no index.ts', todo }] };
  }
  const text = fs.readFileSync(path.join(project, index), 'utf8');
  const source = ts.createSourceFile(index, text, ts.ScriptTarget.Latest, true);
  const functions = new Map();
  const errors = [];
  for (const statement of source.statements) {
    if (!ts.isImportDeclaration(statement) || statement.importClause !== undefined) continue;
    const { line } = source.getLineAndCharacterOfPosition(statement.getStart());
    const place = { file: index, line: line + 1 };
    const { fn, error } = located(project, statement.moduleSpecifier.text);
    if (error) errors.push({ ...place, ...error });
    else if (functions.has(fn.key)) errors.push({ ...place, ...duplicate(fn, functions.get(fn.key)) });
    else functions.set(fn.key, fn);
  }
  if (functions.size === 0 && errors.length === 0) {
    const todo = `Import each function for its side effects: import './${LAYOUT}'`;
    errors.push({ code: 'no_functions', file: index, line: 1, message: `${index} imports no functions`, todo });
  }
  return { functions: [...functions.values()].sort((a, b) => (a.key < b.key ? -1 : 1)), errors };
}

function duplicate(fn, first) {
  const message = `There are two functions ${fn.key}: ${first.relative} and ${fn.relative}`;
  return { code: 'duplicate_name', message, todo: 'Rename one of the files, or import only one of them' };
}

function located(project, specifier) {
  const parts = path.posix.normalize(specifier).split('/');
  const [integration, folder, base, ...more] = parts;
  const kind = KINDS[folder];
  if (!specifier.startsWith('./') || kind === undefined || base === undefined || more.length > 0) {
    const message = `${specifier} does not lie where a function can`;
    return { error: { code: 'bad_place', message, todo: `Functions are ./${LAYOUT}; import other files where they are used` } };
  }
  const name = base.replace(/\.[cm]?[jt]s$/, '');
  const bad = [integration, name].find((text) => !NAME.test(text) || text.length > 64);
  if (bad !== undefined) {
    const todo = 'Use letters, digits, "-", "_" and ".", at most 64 of them';
    return { error: { code: 'bad_name', message: `${bad} is no name for an integration or a function`, todo } };
  }
  const stem = path.join(project, integration, folder, name);
  const file = ['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs'].map((end) => stem + end).find((at) => fs.existsSync(at));
  if (file === undefined) {
    const message = `${specifier} does not exist`;
    return { error: { code: 'no_file', message, todo: `Create ${path.relative(project, stem)}.ts or remove the import` } };
  }
  const key = `${integration}/${kind}/${name}`;
  const fileName = `${integration}.${kind}.${name}`;
  return { fn: { key, fileName, integration, kind, name, file, relative: path.relative(project, file) } };
}
