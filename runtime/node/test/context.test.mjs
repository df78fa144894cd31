// The context's members, against a platform that is a table of answers.

import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import test from 'node:test';
import { z } from 'zod';
import { ActionError as SdkActionError } from '../sdk/index.js';
import { createContext } from '../harness/src/context/context.mjs';
import { ActionError, resultError } from '../harness/src/context/errors.mjs';
import { requestParams } from '../harness/src/context/proxy.mjs';
import { chunks } from '../harness/src/context/records.mjs';
import { flat } from '../harness/src/context/checkpoint.mjs';
import { PlatformError } from '../harness/src/protocol/calls.mjs';
import { connectError } from '../harness/src/net/errors.mjs';
import { generator, stateOf } from '../harness/src/sandbox/random.mjs';

function context(answers = {}, { definition = {}, values = {}, interrupted = () => {} } = {}) {
  const made = [];
  const lines = [];
  const calls = {
    async call(method, params = {}) {
      made.push({ method, params });
      const answer = answers[method];
      const ok = typeof answer === 'function' ? answer(params) : answer;
      if (ok instanceof Error) throw ok;
      return ok ?? {};
    },
  };
  const logs = { add: (level, message) => lines.push([level, message]) };
  const start = { execution: 'exe_1', attempt: 2, deadline: 5, context: { connectionId: 'c', providerConfigKey: 'demo', ...values } };
  const interrupt = { signal: new AbortController().signal };
  return { nango: createContext({ calls, logs, start, definition, interrupt, interrupted }), made, lines };
}

const platformError = (code, payload) => new PlatformError({ code, message: `because of ${code}`, payload });

test('properties come from Start', () => {
  const { nango } = context({}, { values: { lastSyncDate: '2026-01-02T03:04:05.000Z', syncId: 's' } });
  const { connectionId, providerConfigKey, variant, executionId, attempt, deadline, syncId, isCLI } = nango;
  assert.deepEqual(
    { connectionId, providerConfigKey, variant, executionId, attempt, deadline, syncId, isCLI },
    { connectionId: 'c', providerConfigKey: 'demo', variant: 'base', executionId: 'exe_1', attempt: 2, deadline: 5, syncId: 's', isCLI: false },
  );
  assert.equal(nango.lastSyncDate.getTime(), Date.UTC(2026, 0, 2, 3, 4, 5));
  assert.equal(context().nango.lastSyncDate, undefined);
});

test('an answer has the shape of Axios', async () => {
  const answer = { status: 201, statusText: 'Created', headers: { a: 'b' }, json: { id: 1 } };
  const { nango, made } = context({ 'proxy.request': answer });
  const config = { endpoint: '/x', params: { a: undefined, b: [1, 2], c: 'd' }, data: { e: 1 }, retries: '3', retryOn: null };
  const { request, ...response } = await nango.post(config);
  assert.deepEqual(response, { data: { id: 1 }, status: 201, statusText: 'Created', headers: { a: 'b' }, config: { ...config, method: 'POST' } });
  assert.deepEqual(made[0].params, {
    method: 'POST', endpoint: '/x', retries: 3, params: { b: '1,2', c: 'd' }, responseType: 'json', data: { e: 1 }, headers: {},
  });
});

test('bytes come as Buffer, as stream, as Blob', async () => {
  const pieces = ['AA==', 'Af8='];
  const { nango } = context({
    'proxy.request': { status: 200, statusText: '', headers: {}, base64: 'AAH/' },
    'stream.open': { stream: 1, head: { status: 200, statusText: '', headers: {} } },
    'stream.read': () => (pieces.length > 0 ? { base64: pieces.shift() } : { end: true }),
  });
  const read = async (responseType) => (await nango.get({ endpoint: '/x', responseType })).data;
  assert.deepEqual([...(await read('arraybuffer'))], [0, 1, 255]);
  assert.deepEqual([...Buffer.concat(await (await read('stream')).toArray())], [0, 1, 255]);
  assert.deepEqual([...new Uint8Array(await (await read('blob')).arrayBuffer())], [0, 1, 255]);
});

test('long bodies go up in pieces, and a stream that is not read to its end is closed', async () => {
  const head = { status: 201, statusText: 'Created', headers: {} };
  let taken = 0;
  const { nango, made } = context({
    'stream.open': { stream: 7 },
    'stream.write': ({ base64 }) => ({ taken: (taken += Buffer.from(base64, 'base64').length) < 6 << 20 }),
    'stream.answer': { head },
    'stream.read': { base64: 'e30=' },
  });
  async function* pieces() {
    for (let piece = 0; piece < 64; piece += 1) yield Buffer.alloc(512 << 10, piece);
  }
  const answer = await nango.put({ endpoint: '/f', data: Readable.from(pieces()), responseType: 'stream' });
  assert.deepEqual([answer.status, taken], [201, 6 << 20], 'what the API answered ends what is written');
  const [opened] = made.map(({ params }) => params);
  assert.deepEqual([opened.upload, opened.request.method, opened.request.upload], [true, 'PUT', undefined]);
  answer.data.destroy();
  await new Promise((resolve) => answer.data.once('close', resolve));
  assert.equal(made.at(-1).method, 'stream.close');

  const whole = context({ 'stream.open': { stream: 1 }, 'stream.write': { taken: true }, 'stream.answer': { head }, 'stream.read': (() => {
    const answers = [{ base64: 'eyJhIjox' }, { base64: 'fQ==' }, { end: true }];
    return () => answers.shift();
  })() });
  const { data } = await whole.nango.post({ endpoint: '/f', data: Buffer.alloc(5 << 20) });
  assert.deepEqual([data, whole.made[0].params.length], [{ a: 1 }, 5 << 20]);
  assert.equal(whole.made.filter(({ method }) => method === 'stream.write').length, 5 * 16);
});

test('bodies of every kind are put into words', async () => {
  const of = async (data) => {
    const { data: sent, dataBase64, headers } = await requestParams({ endpoint: '/x', method: 'post', data });
    return { sent, bytes: dataBase64 && Buffer.from(dataBase64, 'base64').toString(), type: headers['content-type'] };
  };
  assert.deepEqual(await of('text'), { sent: 'text', bytes: undefined, type: undefined });
  assert.deepEqual(await of(Buffer.from('b')), { sent: undefined, bytes: 'b', type: undefined });
  assert.deepEqual(await of(new TextEncoder().encode('b').buffer), { sent: undefined, bytes: 'b', type: undefined });
  assert.deepEqual(await of(new URLSearchParams({ a: 'b c' })), {
    sent: 'a=b+c', bytes: undefined, type: 'application/x-www-form-urlencoded;charset=utf-8',
  });
  const form = new FormData();
  form.append('field', 'value');
  const { bytes, type } = await of(form);
  assert.match(bytes, /name="field"\r\n\r\nvalue/);
  assert.match(type, /^multipart\/form-data; boundary=/);
});

test('a failed request throws as Axios does', async () => {
  const payload = { status: 404, statusText: 'Not Found', headers: { a: 'b' }, json: { why: 'gone' } };
  const { nango } = context({ 'proxy.request': platformError('upstream_error', payload) });
  const error = await nango.get({ endpoint: '/x' }).catch((e) => e);
  assert.equal(error.message, 'Request failed with status code 404');
  assert.deepEqual([error.isAxiosError, error.code, error.response.status, error.response.data], [true, 'ERR_BAD_REQUEST', 404, { why: 'gone' }]);
  assert.deepEqual(resultError(error), {
    code: 'upstream_error', message: error.message, stack: error.stack,
    payload: { status: 404, headers: { a: 'b' }, data: { why: 'gone' } },
  });
});

test('no answer, a wait that was told, and an error of the platform', async () => {
  const thrown = async (code, payload) => {
    const { nango } = context({ 'proxy.request': platformError(code, payload) });
    return nango.get({ endpoint: '/x' }).catch((error) => error);
  };
  const unreachable = await thrown('upstream_unreachable', { cause: 'ECONNRESET' });
  assert.deepEqual([unreachable.code, resultError(unreachable).code, resultError(unreachable).payload], ['ECONNRESET', 'upstream_unreachable', { cause: 'ECONNRESET' }]);
  const busy = await thrown('upstream_error', { status: 429, statusText: '', headers: { 'retry-after': '7' }, text: '' });
  assert.equal(resultError(busy).retry_after_ms, 7_000);
  const lost = await thrown('lease_lost');
  assert.deepEqual([lost.code, resultError(lost).code], ['lease_lost', 'lease_lost']);
});

test('records go in chunks of 1,000 and of what fits into a call', async () => {
  const { nango, made } = context();
  const records = Array.from({ length: 2_500 }, (_, n) => ({ id: `${n}` }));
  assert.equal(await nango.batchSave(records, 'Item'), true);
  assert.deepEqual(made.map(({ method, params }) => [method, params.model, params.records.length]), [
    ['records.save', 'Item', 1000], ['records.save', 'Item', 1000], ['records.save', 'Item', 500],
  ]);
  const large = Array.from({ length: 5 }, (_, n) => ({ id: n, text: 'x'.repeat(90) }));
  assert.deepEqual(chunks(large, 1000, 250).map((chunk) => chunk.length), [2, 2, 1]);
});

test('an empty batch is no call; a bad one is refused whole', async () => {
  const { nango, made } = context({}, { definition: { models: { Item: {}, Other: {} } } });
  assert.equal(await nango.batchSave([], 'Item'), true);
  const cases = [
    [[{ id: 'a' }, {}], 'Item', /Record 1 of Item has no id/],
    [[{ id: '' }], 'Item', /Record 0 of Item has no id/],
    [[{ id: 1 }, { id: '1' }], 'Item', /Two records of Item have the id 1/],
    [{ id: 1 }, 'Item', /must be an array/],
    [[{ id: 1 }], 'Itme', /Itme is not declared; this function's models are Item, Other/],
  ];
  for (const [records, model, message] of cases) await assert.rejects(nango.batchSave(records, model), { message });
  assert.deepEqual(made, []);
});

test('records by id, all records, and what was deleted', async () => {
  const { nango } = context({
    'records.get': ({ ids }) => ({ records: ids.filter((id) => id !== '3').map((id) => ({ id })) }),
    'records.list': ({ cursor }) => (cursor ? { records: [{ id: 'b' }], nextCursor: null } : { records: [{ id: 'a' }], nextCursor: 'n' }),
    'records.trackDeletesEnd': { deletedKeys: ['x'] },
  });
  const found = await nango.getRecordsByIds([1, '2', 3], 'Item');
  assert.deepEqual([...found], [[1, { id: '1' }], ['2', { id: '2' }]]);
  const listed = [];
  for await (const record of nango.listRecords('Item')) listed.push(record.id);
  assert.deepEqual(listed, ['a', 'b']);
  assert.deepEqual(await nango.trackDeletesEnd('Item'), { deletedKeys: ['x'] });
});

test('a merging strategy must come before the first batch', async () => {
  const { nango } = context();
  await nango.setMergingStrategy({ strategy: 'override' }, 'Item');
  await nango.batchSave([{ id: 1 }], 'Item');
  await assert.rejects(nango.setMergingStrategy({ strategy: 'override' }, 'Item'), /before its first batch/);
});

test('checkpoints name the version they replace, one after the other', async () => {
  let version = 3;
  const { nango, made } = context({
    'checkpoint.get': () => ({ checkpoint: { page: 1 }, version }),
    'checkpoint.save': () => ({ version: ++version, stop: false }),
    'checkpoint.clear': () => ({ version: ++version }),
  });
  assert.deepEqual(await nango.getCheckpoint(), { page: 1 });
  await Promise.all([nango.saveCheckpoint({ page: 2 }), nango.saveCheckpoint({ page: 3, at: new Date(0) })]);
  await nango.clearCheckpoint();
  assert.deepEqual(made.slice(1), [
    { method: 'checkpoint.save', params: { checkpoint: { page: 2 }, version: 3 } },
    { method: 'checkpoint.save', params: { checkpoint: { page: 3, at: '1970-01-01T00:00:00.000Z' }, version: 4 } },
    { method: 'checkpoint.clear', params: { version: 5 } },
  ]);
});

test('a first save asks for the version; a save that says stop ends the attempt', async () => {
  let interrupted = 0;
  const answers = { 'checkpoint.get': { checkpoint: null, version: 0 }, 'checkpoint.save': { version: 1, stop: true } };
  const { nango, made } = context(answers, { interrupted: () => interrupted++ });
  await nango.saveCheckpoint({ page: 1 });
  assert.deepEqual(made.map(({ method }) => method), ['checkpoint.get', 'checkpoint.save']);
  assert.equal(interrupted, 1);
});

test('a checkpoint is flat and small', () => {
  const fields = (count) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`f${n}`, n]));
  assert.deepEqual(flat({ a: 'b', c: 1, d: true, e: undefined, f: null }), { a: 'b', c: 1, d: true, f: null });
  assert.equal(Object.keys(flat(fields(16))).length, 16);
  for (const bad of [null, [], 'text', { a: {} }, { a: [1] }, { a: NaN }, { a: 1n }, { a: 'x'.repeat(4_001) }, fields(17)]) {
    assert.throws(() => flat(bad), TypeError);
  }
});

test('the log has levels', async () => {
  const { nango, lines } = context();
  await nango.log('a', { b: 1 });
  await nango.log('careful', { level: 'warn' });
  await nango.log({ level: 'error' });
  nango.setLogger({ level: 'error' });
  await nango.log('unheard');
  await nango.log('heard', { level: 'error' });
  assert.deepEqual(lines, [['info', 'a { b: 1 }'], ['warn', 'careful'], ['info', "{ level: 'error' }"], ['error', 'heard']]);
});

test('zodValidateInput logs each issue and throws an ActionError', async () => {
  const { nango, lines } = context();
  const zodSchema = z.object({ a: z.number(), b: z.string().default('x') });
  assert.deepEqual((await nango.zodValidateInput({ zodSchema, input: { a: 1 } })).data, { a: 1, b: 'x' });
  const error = await nango.zodValidateInput({ zodSchema, input: { a: 'no' } }).catch((e) => e);
  assert.ok(error instanceof nango.ActionError);
  assert.equal(error.payload.issues[0].path[0], 'a');
  assert.match(lines[0][1], /Invalid input at a/);
});

test('the connection is asked for once a minute, and again when metadata changed', async () => {
  const { nango, made } = context({ 'connection.get': { credentials: { type: 'OAUTH2', access_token: 't' } } });
  assert.equal(await nango.getToken(), 't');
  await nango.getConnection();
  await nango.getConnection('demo', 'other');
  await nango.updateMetadata({ a: 1 });
  await nango.getConnection();
  assert.deepEqual(made.map(({ method, params }) => [method, params.connectionId]), [
    ['connection.get', 'c'], ['connection.get', 'other'], ['metadata.update', undefined], ['connection.get', 'c'],
  ]);
});

test("either ActionError is an instance of both, and a subclass's is not of every subclass", () => {
  class Special extends SdkActionError {}
  const ours = new ActionError({ a: 1 });
  const theirs = new SdkActionError({ a: 1 });
  for (const error of [ours, theirs, new Special()]) {
    assert.ok(error instanceof ActionError && error instanceof SdkActionError && error instanceof Error);
  }
  assert.ok(!(theirs instanceof Special) && !(new Error('x') instanceof ActionError) && !(null instanceof ActionError));
  assert.deepEqual({ ...resultError(theirs), stack: 0 }, { code: 'action_error', message: 'The function threw an ActionError', payload: { a: 1 }, stack: 0 });
});

test('whatever is thrown is told', () => {
  const code = (thrown) => resultError(thrown).code;
  assert.equal(code(Object.assign(new Error('full'), { code: 'ENOSPC' })), 'ENOSPC');
  assert.equal(code(new TypeError('fetch failed', { cause: connectError({ code: 'ECONNREFUSED', message: '' }, 'h', 1) })), 'ECONNREFUSED');
  assert.equal(code(new TypeError('x', { cause: connectError({ code: 'egress_denied', message: 'm', rule: 'private' }, 'h', 1) })), 'egress_denied');
  assert.equal(code(Object.assign(new Error('x'), { code: 'lease_lost' })), 'script_error', 'a code of the author is not ours');
  for (const odd of [undefined, null, 1, 'text', { a: 1 }, Symbol('s'), () => {}]) assert.equal(code(odd), 'script_error');
  const nasty = new Error('x');
  Object.defineProperty(nasty, 'message', { get() { throw new Error('ha'); } });
  assert.equal(code(nasty), 'script_error');
  const endless = new ActionError({});
  endless.payload.self = endless.payload;
  assert.equal(code(endless), 'script_error');
});

test('Math.random draws evenly and as its seed says', () => {
  const seed = '0123456789abcdef'.repeat(4);
  const draw = (from, count) => Array.from({ length: count }, generator(stateOf(from)));
  assert.deepEqual(draw(seed, 5), draw(seed, 5));
  assert.notDeepEqual(draw(seed, 5), draw('00'.repeat(32), 5));
  const drawn = draw(seed, 100_000);
  assert.ok(drawn.every((x) => x >= 0 && x < 1));
  const buckets = new Array(10).fill(0);
  for (const x of drawn) buckets[Math.floor(x * 10)]++;
  assert.ok(buckets.every((count) => Math.abs(count - 10_000) < 500), buckets.join(' '));
  assert.throws(() => stateOf('abcd'), /2 bytes, not 32/);
});
