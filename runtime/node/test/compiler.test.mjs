// The compiler: what it makes of a project, and what it says when something is wrong.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { CompileError } from '../compiler/src/errors.mjs';
import { compile } from '../compiler/src/pipeline.mjs';
import { rebuilt } from '../compiler/src/watch.mjs';
import { frequencyError, intervalSeconds } from '../compiler/src/frequency.mjs';

const COMPILE = fileURLToPath(new URL('../compiler/compile.mjs', import.meta.url));

/** Writes a project down for as long as `act(directory)` takes. */
async function written(files, act) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-project-'));
  try {
    for (const [name, text] of Object.entries(files)) {
      const file = path.join(directory, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, text);
    }
    return await act(directory);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** Compiles a project in this process, where the types of Node and zod are read only once. */
function compiled(files, { only = [], typeCheck = true } = {}) {
  return written(files, async (project) => {
    try {
      return { errors: [], ...(await compile({ project, only, typeCheck })) };
    } catch (error) {
      if (error instanceof CompileError) return { errors: error.errors };
      throw error;
    }
  });
}

/** The same as a command, as `bulkhead deploy` calls it. */
function command(files) {
  return written(files, (directory) => {
    const out = path.join(directory, 'out');
    const args = [COMPILE, '--project', directory, '--out', out, '--json'];
    const { stdout, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    const made = fs.existsSync(out) ? fs.readdirSync(out).sort() : [];
    const manifest = made.includes('manifest.json') ? fs.readFileSync(path.join(out, 'manifest.json'), 'utf8') : 'null';
    return { outcome: JSON.parse(stdout), status, made, manifest: JSON.parse(manifest) };
  });
}

/** What a compiler that stays says at its first turn. */
function rebuiltOnce(files) {
  return written(files, (project) =>
    rebuilt(fs.realpathSync(project), new Map(), new Set()).then(
      () => [],
      (error) => error.errors,
    ),
  );
}

const index = (...files) => files.map((file) => `import './${file}.js';`).join('\n');
const head = "import { createAction, createSync, createWebhook, createOnEvent } from 'bulkhead';\nimport { z } from 'zod';\n";
const action = (body = 'async () => 1', more = '') =>
  `${head}export default createAction({ input: z.any(), output: z.any(), ${more} exec: ${body} });\n`;
const sync = (more = '', body = 'async () => {}') =>
  `${head}export default createSync({ models: { Item: z.object({ id: z.string() }) }, ${more} exec: ${body} });\n`;

const project = {
  'index.ts': index('demo/actions/hello', 'demo/syncs/items', 'demo/webhooks/push', 'other/on-events/made'),
  'demo/actions/hello.ts': `${head}import { named } from '../../lib/name.js';
    export default createAction({ description: 'Says hello', input: z.object({ a: z.number().default(1), at: z.date().optional() }), output: z.object({ name: z.string() }),
      limits: { time_ms: 1000, cpu_ms: null }, retry: { max: 2 }, exec: async () => ({ name: named() }) });`,
  'lib/name.ts': "export const named = () => 'bulkhead';",
  'demo/syncs/items.ts': sync("frequency: 'every half hour', checkpoint: z.object({ page: z.number() }), syncType: 'full', endpoints: [],",
    'async (n) => { const c = await n.getCheckpoint(); await n.batchSave([{ id: String(c?.page) }], "Item"); }'),
  'demo/webhooks/push.ts': "import { createWebhook } from 'nango'; export default createWebhook({ exec: async (n, { body }) => (await fetch(body.url)).status });",
  'other/on-events/made.ts': `${head}export default createOnEvent({ event: 'post-connection-creation', exec: async (n) => { const { credentials } = await n.getConnection(); void credentials; } });`,
};

test('the command writes bundles and a manifest, or says what is wrong', async () => {
  const { outcome, status, made, manifest } = await command(project);
  assert.deepEqual([outcome.ok, status, outcome.functions], [true, 0, 4], JSON.stringify(outcome));
  assert.deepEqual(made, [
    'demo.action.hello.js', 'demo.action.hello.js.map', 'demo.sync.items.js', 'demo.sync.items.js.map',
    'demo.webhook.push.js', 'demo.webhook.push.js.map', 'manifest.json', 'other.event.made.js', 'other.event.made.js.map',
  ]);
  assert.deepEqual(Object.keys(manifest.functions[0]), ['spec', 'bundle', 'sourceMap']);
  const wrong = await command({ 'index.ts': '' });
  assert.deepEqual([wrong.outcome.ok, wrong.status, wrong.made], [false, 1, []]);
  assert.equal(wrong.outcome.errors[0].code, 'no_functions');
});

test('what a function declares becomes its spec', async () => {
  const { errors, functions, notes } = await compiled(project);
  assert.deepEqual(errors, []);
  const [hello, items, push, event] = functions.map(({ spec }) => spec);
  const { input_schema: input, output_schema: output, ...plain } = JSON.parse(JSON.stringify(hello));
  assert.deepEqual(plain, {
    integration: 'demo', kind: 'action', name: 'hello', description: 'Says hello', auto_start: false, webhook_subscriptions: [],
    models: {}, limits: { time_ms: 1000, cpu_ms: null }, retry: { max: 2 }, uses: { secrets: false, outbound: false }, isolation: 'fork',
  });
  assert.equal(input.$schema, 'https://json-schema.org/draft/2020-12/schema');
  assert.deepEqual([input.properties.a.type, input.properties.at.format, input.required], ['number', 'date-time', undefined]);
  assert.deepEqual([output.required, output.properties.name.type], [['name'], 'string']);
  assert.deepEqual([items.frequency, items.auto_start, items.models.Item.required], ['every half hour', true, ['id']]);
  assert.equal(items.checkpoint_schema.properties.page.type, 'number');
  assert.deepEqual([push.kind, push.uses], ['webhook', { secrets: false, outbound: true }]);
  assert.deepEqual([event.event, event.uses], ['post-connection-creation', { secrets: true, outbound: false }]);
  assert.deepEqual(notes, [
    'demo/syncs/items.ts: syncType is not needed and ignored',
    'demo/syncs/items.ts: endpoints is not needed and ignored',
  ]);
});

test('the same project gives the same bytes, wherever it lies', async () => {
  const [first, second] = [await compiled(project), await compiled(project)];
  for (const [place, { name, code, sourceMap }] of first.functions.entries()) {
    assert.ok(Buffer.from(code).equals(second.functions[place].code), name);
    for (const bytes of [code, sourceMap]) assert.ok(!Buffer.from(bytes).includes('bulkhead-project'), 'no path of the machine');
  }
});

test('only the functions that were asked for', async () => {
  const { functions } = await compiled(project, { only: ['demo/sync/items'] });
  assert.deepEqual(functions.map(({ spec }) => spec.name), ['items']);
});

const one = (text, more = {}) => ({ 'index.ts': index('demo/actions/a'), 'demo/actions/a.ts': text, ...more });
const oneSync = (text) => ({ 'index.ts': index('demo/syncs/s'), 'demo/syncs/s.ts': text });
const file = 'demo/actions/a.ts';

/** What is wrong → the first error that is told. */
const WRONG = {
  'no index': [{ 'demo/actions/a.ts': action() }, { code: 'no_index', file: 'index.ts' }],
  'an index without functions': [{ 'index.ts': '' }, { code: 'no_functions', file: 'index.ts', line: 1 }],
  'an import of a file that is not there': [{ 'index.ts': `\n${index('demo/actions/gone')}` }, { code: 'no_file', file: 'index.ts', line: 2 }],
  'a function that lies elsewhere': [{ 'index.ts': index('demo/a') }, { code: 'bad_place', file: 'index.ts', line: 1 }],
  'a name that cannot be one': [{ 'index.ts': index('demo/actions/a b') }, { code: 'bad_name', file: 'index.ts', line: 1 }],
  'two functions of one name': [{ 'index.ts': "import './demo/actions/a.js';\nimport './demo/actions/a.ts';", [file]: action() }, { code: 'duplicate_name', file: 'index.ts', line: 2 }],
  'no default export': [one(`${head}export const a = createAction({ input: z.any(), output: z.any(), exec: async () => 1 });`), { code: 'no_default_export', file, line: 1 }],
  'a second default export': [one(`${action()}export default 1;`), { code: 'second_default_export', file, line: 4 }],
  'a type that does not agree': [one(action("async () => { const n: number = 'x'; return n; }")), { code: 'type_error', file, line: 3, message: /Type 'string' is not assignable to type 'number'. \(TS2322\)/ }],
  'an output that does not agree': [one(`${head}export default createAction({ input: z.any(), output: z.object({ a: z.string() }), exec: async () => ({ a: 1 }) });`), { code: 'type_error', file, line: 3 }],
  'what is no TypeScript': [one(action().replace('exec:', 'exec')), { code: 'syntax_error', file, line: 3, message: /',' expected/, todo: /before it/ }],
  'a model that is not declared': [oneSync(sync('', "async (n) => { await n.batchSave([], 'Itme'); }")), { code: 'type_error', message: /"Itme"/ }],
  'a record that is not as its model says': [oneSync(sync('', "async (n) => { await n.batchSave([{ id: 1 }], 'Item'); }")), { code: 'type_error', message: /'number' is not assignable to type 'string'/ }],
  'a checkpoint of another shape': [oneSync(sync('checkpoint: z.object({ page: z.number() }),', "async (n) => { await n.saveCheckpoint({ pge: 1 }); }")), { code: 'type_error', message: /'pge' does not exist/ }],
  'what a checkpoint does not have': [oneSync(sync('checkpoint: z.object({ page: z.number() }),', "async (n) => { (await n.getCheckpoint())?.pge; }")), { code: 'type_error', message: /'pge' does not exist/ }],
  'what metadata does not have': [one(action('async (n) => (await n.getMetadata()).taem', 'metadata: z.object({ team: z.string() }),')), { code: 'type_error', message: /'taem' does not exist/ }],
  'a promise that nobody awaits': [one(action("async (n) => {\n  n.setMetadata({});\n}")), { code: 'floating_promise', file, line: 4, column: 3, todo: /await n.setMetadata\(\{\}\)/ }],
  'a package that is not installed': [one(`import leftpad from 'left-pad';\n${action('async () => leftpad')}`), { code: 'type_error', file, line: 1, todo: /npm install left-pad/ }],
  'a limit that there is not': [one(action('async () => 1', 'limits: { memory_mb: 1 } as object,')), { code: 'unknown_limit', file, message: /memory_mb/, todo: /memory_mib/ }],
  'a limit that is none': [one(action('async () => 1', 'limits: { time_ms: 1.5 },')), { code: 'bad_limit', file, message: /time_ms is 1.5/ }],
  'a frequency that is none': [oneSync(sync("frequency: 'often',")), { code: 'bad_frequency', message: /"often" is no frequency/ }],
  'a frequency that is too short': [oneSync(sync("frequency: 'every 5s',")), { code: 'bad_frequency', message: /30 seconds is the shortest/ }],
  'a time zone that is none': [oneSync(sync("cron: '0 6 * * * Europe/Atlantis',")), { code: 'bad_frequency', message: /Europe\/Atlantis/ }],
  'a function of another kind': [one(sync()), { code: 'wrong_kind', file, todo: /createAction/ }],
  'an event that there is not': [{ 'index.ts': index('demo/on-events/e'), 'demo/on-events/e.ts': `${head}export default createOnEvent({ event: 'full-moon' as any, exec: async () => {} });` }, { code: 'bad_event', message: /full-moon/ }],
  'a default export that is no function': [one('export default 42;'), { code: 'no_function', file }],
  'a nested checkpoint': [one(action('async () => 1', 'checkpoint: z.object({ a: z.object({ b: z.string() }) }),')), { code: 'bad_checkpoint', message: /field a is an object/ }],
  'a file that throws when it is loaded': [one(`${action()}throw new Error('at the top');`), { code: 'does_not_load', file, message: /at the top/ }],
};

for (const [name, [files, expected]] of Object.entries(WRONG)) {
  test(`told: ${name}`, async () => {
    const { errors } = await compiled(files);
    const error = errors.find(({ code }) => code === expected.code) ?? errors[0];
    for (const [field, value] of Object.entries(expected)) {
      if (value instanceof RegExp) assert.match(error[field], value);
      else assert.equal(error?.[field], value, JSON.stringify(errors));
    }
    assert.ok(error.todo?.length > 0 && error.message.length > 0, JSON.stringify(error));
  });
}

test('told: a native addon, by its package and the line that imports it', async () => {
  const pkg = (name, main) => JSON.stringify({ name, version: '1.0.0', main });
  const addon = {
    'node_modules/fast-thing/package.json': pkg('fast-thing', 'index.js'),
    'node_modules/fast-thing/index.js': "module.exports = require('./build/Release/fast.node');",
    'node_modules/fast-thing/index.d.ts': 'declare const fast: unknown; export default fast;',
    'node_modules/fast-thing/build/Release/fast.node': 'ELF',
  };
  const files = one(`\nimport fast from 'fast-thing';\n${action('async () => fast')}`, addon);
  const first = async (of) => (await compiled(of)).errors[0];
  const error = await first(files);
  assert.deepEqual([error.code, error.file, error.line], ['native_addon', file, 2]);
  assert.match(error.message, /fast-thing/);
  assert.match(error.todo, /instead of fast-thing/);
  const loader = { ...files, 'node_modules/fast-thing/index.js': "module.exports = require('bindings')('fast');" };
  assert.deepEqual([(await first(loader)).code, (await first(loader)).line], ['native_addon', 2]);

  // By way of another package, and a file of the author's that is no function.
  const around = await first(one(`import { a } from '../../lib/a.js';\n${action('async () => a')}`, {
    ...addon,
    'lib/a.ts': "// A comment that names 'wraps-it' is no import.\n\nimport wraps from 'wraps-it';\nexport const a = wraps;",
    'node_modules/wraps-it/package.json': pkg('wraps-it', 'index.js'),
    'node_modules/wraps-it/index.js': "module.exports = require('fast-thing');",
    'node_modules/wraps-it/index.d.ts': 'declare const wraps: unknown; export default wraps;',
  }));
  assert.deepEqual([around.code, around.file, around.line], ['native_addon', 'lib/a.ts', 3]);
  assert.match(around.message, /fast-thing .* by way of wraps-it/);
  assert.match(around.todo, /instead of wraps-it/);
});

test('told by the bundler alone, as when somebody saves a file: a missing package, a second default export', async () => {
  const quick = async (text) => (await rebuiltOnce(one(text))).find(({ code }) => code !== 'bundle');
  const missing = await quick(`import leftpad from 'left-pad';\n${action('async () => leftpad')}`);
  assert.deepEqual([missing.code, missing.file, missing.line, missing.todo], ['missing_package', file, 1, 'Install it in the project: npm install left-pad']);
  const second = await quick(`${action()}export default 1;`);
  assert.deepEqual([second.code, second.file, second.line], ['second_default_export', file, 4]);
});

test("the project's own packages come before the compiler's", async () => {
  const files = one(`import axios from 'axios';\n${action('async () => axios')}`, {
    'node_modules/axios/package.json': JSON.stringify({ name: 'axios', version: '0.0.1', main: 'index.js', types: 'index.d.ts' }),
    'node_modules/axios/index.js': "module.exports = 'the own one';",
    'node_modules/axios/index.d.ts': 'declare const own: string; export default own;',
  });
  const { errors, functions } = await compiled(files);
  assert.deepEqual(errors, []);
  assert.ok(Buffer.from(functions[0].code).includes('the own one'));
});

test('credentials are found through helpers and destructuring, and not taken for what they are not', async () => {
  const secrets = async (text) => {
    const { errors, functions } = await compiled(one(text), { typeCheck: false });
    assert.deepEqual(errors, []);
    return functions[0].spec.uses.secrets;
  };
  assert.equal(await secrets(action('async ({ getToken }) => getToken()')), true);
  assert.equal(await secrets(`const help = (n: any) => n.getConnection();\n${action('async (n) => help(n)')}`), true);
  assert.equal(await secrets(action("async (n) => n['getToken']()")), true);
  assert.equal(await secrets(`const pool = { getConnection: () => 1 };\n${action('async () => pool.getConnection()')}`), false);
  assert.equal(await secrets(action('async (n) => n.getMetadata()')), false);
});

test('frequencies', () => {
  const seconds = { 'every 30s': 30, 'every 5m': 300, 'every 5 minutes': 300, 'every half hour': 1800, 'every hour': 3600, 'every 1h': 3600, 'every day': 86400, 'every 2 weeks': 1209600, 'every quarter hour': 900, 'every month': 2592000 };
  for (const [text, expected] of Object.entries(seconds)) assert.equal(intervalSeconds(text), expected, text);
  for (const good of [...Object.keys(seconds), 'cron: 0 6 * * 1-5 Europe/Paris', 'cron: */5 * * * *', 'Every 5m']) assert.equal(frequencyError(good), null, good);
  for (const bad of ['', 'every', 'every now', 'every 0m', 'every 29s', 'every 32 days', 'cron: * * *', 'cron: a b c d e f g', 5, 'every 5.5m']) assert.notEqual(frequencyError(bad), null, String(bad));
});

test('rules that narrow egress are carried over, and refused where they can not be read', async () => {
  const declared = (egress) => one(action('async () => 1', `egress: ${JSON.stringify(egress)} as any,`));
  const rules = [{ name: 'api', effect: 'allow', hosts: ['*.example.com'], ports: ['443'] }];
  const { functions } = await compiled(declared(rules));
  assert.deepEqual(functions[0].spec.egress, rules);
  for (const bad of [[{ name: 'x', effect: 'maybe' }], [{ name: 'x', effect: 'deny', ports: [443] }]]) {
    const { errors } = await compiled(declared(bad));
    assert.deepEqual(errors.map(({ code }) => code), ['bad_egress'], JSON.stringify(bad));
  }
});
