// Every member of the context, each with the test that shows it; and tests of those that no other file is about.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import test from 'node:test';
import ts from 'typescript';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createContext } from '../harness/src/context/context.mjs';

const own = 'surface.test.mjs';
const properties = ['context.test.mjs', 'properties come from Start'];
const aliases = [own, 'older names work'];
const axios = ['context.test.mjs', 'an answer has the shape of Axios'];
const checkpoints = ['context.test.mjs', 'checkpoints name the version they replace, one after the other'];
const locks = [own, 'locks are taken, given back, and given back all'];
const byId = ['context.test.mjs', 'records by id, all records, and what was deleted'];
const others = [own, 'other executions: an action is awaited, syncs are triggered and started'];
const connection = ['context.test.mjs', 'the connection is asked for once a minute, and again when metadata changed'];
const asked = [own, 'what is asked of the platform, and what is changed there'];
const written = [own, 'records are merged and deleted; deletes are tracked; a strategy is set once'];
const log = ['context.test.mjs', 'the log has levels'];

/** Member → the file and the test that shows it. */
const SHOWN = {
  connectionId: properties, providerConfigKey: properties, provider: properties, environmentId: properties, environmentName: properties,
  accountId: properties, activityLogId: properties, syncId: properties, syncJobId: properties, nangoConnectionId: properties,
  scriptType: properties, variant: properties, lastSyncDate: properties, isCLI: properties, executionId: properties, attempt: properties,
  deadline: properties,
  signal: ['functions.test.mjs', 'cancel-me ends when it is told to'],
  logger: log, log, setLogger: log,
  ActionError: ['context.test.mjs', "either ActionError is an instance of both, and a subclass's is not of every subclass"],
  proxy: axios, post: axios, get: ['context.test.mjs', 'bytes come as Buffer, as stream, as Blob'],
  put: [own, 'every verb is a request'], patch: [own, 'every verb is a request'], delete: [own, 'every verb is a request'],
  paginate: ['paginate.test.mjs', 'by cursor, in the query'],
  uncontrolledFetch: [own, 'fetch follows five redirects, and takes credentials to no other origin'],
  getConnection: connection, getToken: connection, updateMetadata: connection,
  getIntegration: asked, getWebhookURL: asked, getMetadata: asked, setMetadata: asked, getEnvironmentVariables: asked,
  getCheckpoint: checkpoints, saveCheckpoint: checkpoints, clearCheckpoint: checkpoints,
  zodValidateInput: ['context.test.mjs', 'zodValidateInput logs each issue and throws an ActionError'],
  triggerAction: others, triggerSync: others, startSync: others,
  tryAcquireLock: locks, releaseLock: locks, releaseAllLocks: locks,
  batchSave: ['context.test.mjs', 'records go in chunks of 1,000 and of what fits into a call'],
  batchUpdate: written, batchDelete: written, trackDeletesStart: written, setMergingStrategy: written,
  deleteRecordsFromPreviousExecutions: written,
  getRecordsByIds: byId, listRecords: byId, trackDeletesEnd: byId,
  batchSend: aliases, getFieldMapping: aliases, setFieldMapping: aliases, getFlowAttributes: aliases,
};

function context(answers = {}, { definition = {}, values = {} } = {}) {
  const made = [];
  const calls = {
    async call(method, params = {}) {
      made.push([method, params]);
      return answers[method] ?? {};
    },
  };
  const start = { execution: 'exe_1', attempt: 1, deadline: 5, context: { connectionId: 'c', providerConfigKey: 'demo', ...values } };
  const parts = { calls, logs: { add() {} }, start, definition, interrupt: { signal: new AbortController().signal }, interrupted() {} };
  return { nango: createContext(parts), made };
}

/** Names of the members that the types of the context have. */
function typed() {
  const file = fileURLToPath(new URL('../sdk/types/context.d.ts', import.meta.url));
  const source = ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const contexts = source.statements.filter((statement) => ts.isInterfaceDeclaration(statement) && /^(Action|Sync)Context$/.test(statement.name.text));
  assert.equal(contexts.length, 2);
  return contexts.flatMap(({ members }) => members.map(({ name }) => name.text));
}

test('every member has its types, is there, and has a test that shows it', () => {
  const names = typed().sort();
  assert.deepEqual(Object.keys(SHOWN).sort(), names);
  const { nango } = context();
  for (const name of names) {
    assert.ok(name in nango, `${name} is there`);
    const [file, title] = SHOWN[name];
    const text = fs.readFileSync(new URL(file, import.meta.url), 'utf8');
    const quoted = [`test('${title.replaceAll("'", "\\'")}'`, `test("${title}"`];
    assert.ok(quoted.some((begin) => text.includes(begin)), `${file} has no test "${title}" for ${name}`);
  }
});

test('every verb is a request', async () => {
  const { nango, made } = context({ 'proxy.request': { status: 200, statusText: '', headers: {}, json: 1 } });
  for (const verb of ['get', 'post', 'put', 'patch', 'delete']) assert.equal((await nango[verb]({ endpoint: '/x' })).data, 1);
  assert.deepEqual(made.map(([, { method }]) => method), ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']);
});

test('other executions: an action is awaited, syncs are triggered and started', async () => {
  const { nango, made } = context({ 'action.trigger': { done: true } });
  assert.deepEqual(await nango.triggerAction('demo', 'c2', 'report', { a: 1 }), { done: true });
  await nango.triggerAction('demo', 'c2', 'report');
  await nango.triggerSync('demo', 'c2', 'items');
  await nango.triggerSync('demo', 'c2', { name: 'items', variant: 'base' });
  await nango.startSync('demo', ['items', { name: 'more' }]);
  await nango.startSync('demo', ['items'], 'c3');
  const of = (connectionId, more) => ({ providerConfigKey: 'demo', connectionId, ...more });
  assert.deepEqual(made, [
    ['action.trigger', of('c2', { action: 'report', input: { a: 1 } })],
    ['action.trigger', of('c2', { action: 'report', input: null })],
    ['sync.trigger', of('c2', { sync: 'items' })],
    ['sync.trigger', of('c2', { sync: 'items' })],
    ['sync.start', of('c', { syncs: ['items', 'more'] })],
    ['sync.start', of('c3', { syncs: ['items'] })],
  ]);
});

test('locks are taken, given back, and given back all', async () => {
  const { nango, made } = context({ 'lock.acquire': { acquired: true }, 'lock.release': { released: false } });
  assert.equal(await nango.tryAcquireLock({ key: 'k', ttlMs: 1_000 }), true);
  assert.equal(await nango.releaseLock({ key: 'k' }), false);
  assert.equal(await nango.releaseAllLocks(), undefined);
  assert.deepEqual(made, [['lock.acquire', { key: 'k', ttlMs: 1_000 }], ['lock.release', { key: 'k' }], ['lock.releaseAll', {}]]);
});

test('what is asked of the platform, and what is changed there', async () => {
  const answers = { 'integration.get': { unique_key: 'demo' }, 'metadata.get': { a: 1 }, 'variables.list': [{ name: 'A', value: '1' }], 'metadata.set': { b: 2 } };
  const { nango, made } = context(answers, { values: { webhookUrl: 'https://bulkhead.test/hook' } });
  assert.deepEqual([await nango.getIntegration(), await nango.getIntegration()], [{ unique_key: 'demo' }, { unique_key: 'demo' }]);
  assert.equal(await nango.getWebhookURL(), 'https://bulkhead.test/hook');
  assert.deepEqual(await nango.getMetadata(), { a: 1 });
  assert.deepEqual(await nango.setMetadata({ b: 2 }), { b: 2 });
  assert.deepEqual(await nango.getEnvironmentVariables(), [{ name: 'A', value: '1' }]);
  assert.deepEqual(made.map(([method]) => method), ['integration.get', 'metadata.get', 'metadata.set', 'variables.list']);
});

test('records are merged and deleted; deletes are tracked; a strategy is set once', async () => {
  const { nango, made } = context({ 'records.deleteUnseen': { deletedKeys: ['x'] } });
  await nango.setMergingStrategy({ strategy: 'ignore_if_modified_after' }, 'Item');
  await assert.rejects(nango.setMergingStrategy({ strategy: 'override' }, 'Item'), /it is set once/);
  await nango.setMergingStrategy({ strategy: 'override' }, 'Other');
  await nango.trackDeletesStart('Item');
  assert.equal(await nango.batchUpdate([{ id: 'a', b: 1 }], 'Item'), true);
  assert.equal(await nango.batchDelete([{ id: 'a' }], 'Item'), true);
  assert.deepEqual(await nango.deleteRecordsFromPreviousExecutions('Item'), { deletedKeys: ['x'] });
  assert.deepEqual(made, [
    ['records.setMergingStrategy', { model: 'Item', strategy: 'ignore_if_modified_after' }],
    ['records.setMergingStrategy', { model: 'Other', strategy: 'override' }],
    ['records.trackDeletesStart', { model: 'Item' }],
    ['records.update', { model: 'Item', records: [{ id: 'a', b: 1 }] }],
    ['records.delete', { model: 'Item', records: [{ id: 'a' }] }],
    ['records.deleteUnseen', { model: 'Item' }],
  ]);
});

test('older names work', async () => {
  const { nango, made } = context({ 'metadata.get': { fieldMapping: { a: 'b' } } }, { definition: { attributes: { plan: 'x' } } });
  assert.equal(await nango.batchSend([{ id: 1 }], 'Item'), true);
  assert.deepEqual(await nango.getFieldMapping(), { a: 'b' });
  await nango.setFieldMapping({ c: 'd' });
  assert.deepEqual(nango.getFlowAttributes(), { plan: 'x' });
  assert.equal(context().nango.getFlowAttributes(), null);
  assert.deepEqual(made, [
    ['records.save', { model: 'Item', records: [{ id: 1 }] }],
    ['metadata.get', {}],
    ['metadata.update', { metadata: { fieldMapping: { c: 'd' } } }],
  ]);
});

test('fetch follows five redirects, and takes credentials to no other origin', async (t) => {
  const seen = [];
  const serve = async (answer) => {
    const server = http.createServer((request, response) => {
      const { method, url, headers } = request;
      seen.push({ method, url, authorization: headers.authorization, cookie: headers.cookie, kept: headers['x-kept'], type: headers['content-type'] });
      answer(request.resume(), response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    return `http://127.0.0.1:${server.address().port}`;
  };
  const elsewhere = await serve((_, response) => response.end('there'));
  const here = await serve(({ url }, response) => {
    const [, status, to] = /^\/(\d+)\/(.*)$/.exec(url) ?? [];
    if (status === undefined) return response.end('here');
    const left = Number(to);
    const location = to === 'away' ? `${elsewhere}/` : left > 0 ? `/${status}/${left - 1}` : '/end';
    return response.writeHead(Number(status), { location }).end();
  });
  const { nango } = context();
  const headers = { authorization: 'secret', cookie: 'secret', 'x-kept': 'yes', 'content-type': 'text/plain' };
  const fetched = async (path, more = {}) => {
    seen.length = 0;
    return (await nango.uncontrolledFetch({ url: new URL(path, here), headers, ...more })).text();
  };
  assert.equal(await fetched('/302/4'), 'here');
  assert.equal(seen.length, 6);
  assert.ok(seen.every(({ authorization }) => authorization === 'secret'), 'the same origin gets them');
  await assert.rejects(fetched('/302/5'), /redirects more than 5 times/);
  assert.equal(await fetched('/307/away', { method: 'POST', body: 'b' }), 'there');
  assert.deepEqual(seen[1], { method: 'POST', url: '/', authorization: undefined, cookie: undefined, kept: 'yes', type: 'text/plain' });
  await fetched('/303/0', { method: 'POST', body: 'b' });
  assert.deepEqual([seen[1].method, seen[1].type], ['GET', undefined], 'without its body, and what described it');
});
