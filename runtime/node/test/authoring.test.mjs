// What authors meet: stacks in their own terms, functions in the style of Nango's SDK as they are, and a compiler that
// stays.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { compile } from '../compiler/src/pipeline.mjs';
import { decoded, reduced } from '../compiler/src/stacks.mjs';
import { page, undocumented } from '../sdk/reference.mjs';
import { NODE, runBundle } from './support/peer.mjs';

const repository = fileURLToPath(new URL('../../..', import.meta.url));

/** A project in a directory that is removed afterwards. */
function project(t, files) {
  const directory = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-authoring-')));
  t.after(() => fs.rmSync(directory, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(directory, name)), { recursive: true });
    fs.writeFileSync(path.join(directory, name), text);
  }
  return directory;
}

/** Runs one function of a project. */
async function ran(directory, name, options) {
  const { functions } = await compile({ project: directory, only: [], typeCheck: false });
  const file = path.join(directory, 'bundle.js');
  fs.writeFileSync(file, functions.find(({ spec }) => spec.name === name).code);
  return runBundle(file, options);
}

const THROWS = `import { createAction } from 'bulkhead';
import { z } from 'zod';
import { inner } from '../helper.js';
import { fail } from 'some-package';

export default createAction({
  description: 'Throws',
  input: z.object({ how: z.string() }),
  output: z.any(),
  exec: async (bulkhead, { how }) => {
    if (how === 'helper') return inner(() => { throw new TypeError('from a helper'); });
    if (how === 'package') return fail();
    if (how === 'call') return await bulkhead.getMetadata();
    console.error(new Error('logged'));
  },
});
`;
const HELPER = `export function inner(act: () => never): never {
  return act();
}
`;
const PACKAGE = `export function fail() { return deeper(); }
function deeper() { throw new Error('from a package'); }
`;

test('stacks name the author\'s files and lines, and nothing else', async (t) => {
  const directory = project(t, {
    'index.ts': "import './demo/actions/throws.js';\n",
    'demo/actions/throws.ts': THROWS,
    'demo/helper.ts': HELPER,
    'node_modules/some-package/package.json': '{"name": "some-package", "type": "module", "main": "index.js"}',
    'node_modules/some-package/index.js': PACKAGE,
  });
  const stack = async (how) => (await ran(directory, 'throws', { start: { input: { how } } })).result.error.stack.split('\n');
  const helper = await stack('helper');
  assert.equal(helper[0], 'TypeError: from a helper');
  assert.match(helper[1], /demo\/actions\/throws\.ts:11:\d+/);
  assert.match(helper[2], /inner \(demo\/helper\.ts:2:\d+\)$/);
  assert.match(helper[3], /demo\/actions\/throws\.ts:11:\d+/);
  assert.equal(helper.length, 4, helper.join('\n'));
  const inPackage = await stack('package');
  assert.deepEqual([inPackage[0], inPackage.length], ['Error: from a package', 2], inPackage.join('\n'));
  assert.match(inPackage[1], /throws\.ts:12:/);
  const call = await stack('call');
  assert.match(call[1], /throws\.ts:13:/, call.join('\n'));
  assert.equal(call.length, 2, call.join('\n'));
  const { peer } = await ran(directory, 'throws', { start: { input: { how: 'log' } } });
  const [{ message }] = peer.logs;
  assert.match(message, /^Error: logged\n\s+at .*throws\.ts:14:\d+/);
  assert.ok(!message.includes('zygote.js'), message);
});

test('a source map is cut down to what is kept, and ends where it ends', () => {
  // Line 1: a (column 0), package (column 10), b (column 20); line 2: package, b.
  const map = { sources: ['a.ts', 'node_modules/p/i.js', 'b.ts'], mappings: 'AAAA,UCAA,UCCA;ADAA,KCCC' };
  const { sources, mappings } = reduced(map, (source) => !source.includes('node_modules'));
  assert.deepEqual(sources, ['a.ts', 'b.ts']);
  const lines = mappings.split(';').map((line) => line.split(',').map(decoded));
  assert.deepEqual(lines, [[[0, 0, 0, 0], [10], [10, 1, 1, 0]], [[0], [5, 0, 1, 1]]]);
});

test('functions written for Nango\'s SDK compile as they are', async () => {
  const directory = path.join(repository, 'tests/nango');
  const { functions, notes } = await compile({ project: directory, only: [], typeCheck: true });
  assert.equal(functions.length, 9);
  const names = notes.map((note) => note.split(': ')[1].split(' ')[0]);
  assert.deepEqual([...new Set(names)].sort(), ['endpoint', 'endpoints', 'scopes', 'syncType', 'trackDeletes']);
  const [remove] = functions.filter(({ spec }) => spec.name === 'delete-task');
  assert.deepEqual(remove.spec.uses, { secrets: true, outbound: false });
});

test('a project is type-checked and compiled as init makes it', async (t) => {
  const directory = project(t, {});
  fs.cpSync(path.join(repository, 'crates/bulkhead/templates/init'), directory, { recursive: true });
  const { functions, notes } = await compile({ project: directory, only: [], typeCheck: true });
  assert.deepEqual([functions.length, notes], [2, []]);
});

test('the compiler that stays tells of every change, and of the types afterwards', async (t) => {
  const directory = project(t, {});
  fs.cpSync(path.join(repository, 'crates/bulkhead/templates/init'), directory, { recursive: true });
  const out = project(t, {});
  const compiler = path.join(repository, 'runtime/node/compiler/compile.mjs');
  const child = spawn(NODE, [compiler, '--watch', '--project', directory, '--out', out], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => JSON.parse((await lines.next()).value);
  const file = path.join(directory, 'hello/actions/greet.ts');
  const change = (from, to) => fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(from, to));

  assert.deepEqual((await next()).changed, ['hello.action.greet', 'hello.sync.people']);
  assert.deepEqual(await next(), { step: 'types', ok: true, errors: [] });
  change('Hello', 'Hi');
  const { took_ms: took, ...built } = await next();
  assert.deepEqual(built, { step: 'build', ok: true, changed: ['hello.action.greet'], all: false, notes: [] });
  assert.ok(took > 0);
  assert.match(fs.readFileSync(path.join(out, 'hello.action.greet.js'), 'utf8'), /Hi, /);
  assert.equal((await next()).step, 'types');
  change('greeting: `', 'greting: `');
  assert.equal((await next()).ok, true, 'it is live before its types are checked');
  const { step, errors } = await next();
  assert.deepEqual([step, errors[0].code, errors[0].file], ['types', 'type_error', 'hello/actions/greet.ts']);
  change('exec:', 'exec');
  const wrong = await next();
  assert.deepEqual([wrong.ok, wrong.errors[0].code, wrong.errors[0].line], [false, 'bundle', 10]);
  fs.writeFileSync(path.join(directory, 'index.ts'), "import './hello/syncs/people.js';\n");
  const gone = await next();
  assert.deepEqual([gone.ok, gone.all, gone.changed], [true, true, []], JSON.stringify(gone));
  child.stdin.end();
  assert.equal((await once(child, 'exit'))[0], 0);
});

test('a save that one function could not be built with reaches the others as soon as that one is mended', async (t) => {
  const action = (word) => `import { createAction } from 'bulkhead';
import { z } from 'zod';
import { ${word} } from '../shared.js';
export default createAction({ description: ${word}, input: z.unknown(), output: z.string(), exec: async () => ${word} });
`;
  const directory = project(t, {
    'index.ts': "import './words/actions/first.js';\nimport './words/actions/second.js';\n",
    'words/actions/first.ts': action('first'),
    'words/actions/second.ts': action('second'),
    'words/shared.ts': "export const first = 'one';\nexport const second = 'two';\n",
  });
  const builds = [];
  const told = [];
  const say = (line) => line.step === 'build' && (told.shift() ?? ((early) => builds.push(early)))(line);
  const next = () => new Promise((tell) => (builds.length > 0 ? tell(builds.shift()) : told.push(tell)));
  const out = project(t, {});
  const compiler = path.join(repository, 'runtime/node/compiler/compile.mjs');
  const child = spawn(NODE, [compiler, '--watch', '--project', directory, '--out', out], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill());
  createInterface({ input: child.stdout }).on('line', (line) => say(JSON.parse(line)));

  assert.equal((await next()).ok, true);
  fs.writeFileSync(path.join(directory, 'words/shared.ts'), "export const first = 'new';\nexport const other = 'two';\n");
  assert.equal((await next()).ok, false, 'second has nothing to import');
  fs.writeFileSync(path.join(directory, 'words/actions/second.ts'), action('other'));
  let mended = await next();
  // A file that is looked at while it is written is no whole one.
  while (!mended.ok) mended = await next();
  assert.deepEqual(mended.changed, ['words.action.first', 'words.action.second'], JSON.stringify(mended));
  child.stdin.end();
  assert.equal((await once(child, 'exit'))[0], 0);
});

test('everything of the SDK is documented, and docs/sdk.md says what its types say', () => {
  assert.deepEqual(undocumented(), []);
  const written = fs.readFileSync(path.join(repository, 'docs/sdk.md'), 'utf8');
  assert.ok(written === page(), 'docs/sdk.md is old: node runtime/node/sdk/reference.mjs');
});
