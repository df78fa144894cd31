// The functions of examples/ and tests/functions, compiled as a deploy does and run in a sandbox without walls: what
// they promise that needs none. What needs a wall is tested behind one.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { compile } from '../compiler/src/pipeline.mjs';
import { Kind, runBundle, sandbox } from './support/peer.mjs';
import { servers } from './support/servers.mjs';

const repository = fileURLToPath(new URL('../../..', import.meta.url));
const flags = ['--single-threaded'];
const files = {};
let out;
let web;
let api;

async function demoApi() {
  const child = spawn(process.execPath, [path.join(repository, 'examples/demo-api.mjs')], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data');
  return { url: JSON.parse(line).url, end: () => child.kill() };
}

before(async () => {
  out = fs.mkdtempSync(path.join(os.tmpdir(), 'bulkhead-functions-'));
  for (const project of ['examples', 'tests/functions']) {
    const { functions, notes } = await compile({ project: path.join(repository, project), only: [], typeCheck: true });
    assert.deepEqual(notes, []);
    for (const { name, spec, code } of functions) {
      const file = path.join(out, `${name}.js`);
      fs.writeFileSync(file, code);
      // Two integrations may have functions of one name: those of examples/ come first, and count.
      files[spec.name] ??= file;
    }
  }
  [web, api] = await Promise.all([servers(), demoApi()]);
});

after(() => {
  web.close();
  api.end();
  fs.rmSync(out, { recursive: true });
});

const runs = (name, options) => runBundle(files[name], { flags, ...options });

/** Answers proxy.request as the host does, on behalf of the demo API. */
async function proxied({ method, endpoint, params, data }) {
  const url = new URL(endpoint, api.url);
  for (const [name, value] of Object.entries(params ?? {})) url.searchParams.set(name, value);
  const headers = { authorization: 'Bearer of the host', 'content-type': 'application/json' };
  const response = await fetch(url, { method, headers, body: data === undefined ? undefined : JSON.stringify(data) });
  const { status, statusText } = response;
  return { status, statusText, headers: Object.fromEntries(response.headers), json: await response.json() };
}

test('every feature works', async () => {
  const input = { http: `${api.url}`.replace('127.0.0.1', 'web.test'), https: `https://web.test:${web.ports.https}` };
  const answers = { 'dns.lookup': [{ address: '127.0.0.1', family: 4 }] };
  const { result, peer } = await runs('features', { answers, gateway: { hosts: { 'web.test': '127.0.0.1' } }, start: { input } });
  assert.equal(result.is, 'completed', JSON.stringify(result) + peer.output);
  const broken = Object.entries(result.output).filter(([, { works }]) => !works);
  assert.deepEqual(broken, []);
  assert.ok(Object.keys(result.output).length >= 20);
});

test('echo goes through the proxy, and directly with axios', async () => {
  const answers = { 'proxy.request': proxied, 'integration.get': { base_url: api.url } };
  const { result } = await runs('echo', { answers, start: { input: { message: 'hi', direct: true } } });
  assert.deepEqual(result, { is: 'completed', output: { message: 'hi', direct: 'hi', authorized: true } });
  const refused = await runs('echo', { answers, start: { input: { message: 'refuse me' } } });
  assert.deepEqual(refused.result.error.payload, { message: 'Refused, as asked', asked: 'refuse me' });
  const { error: unfit } = (await runs('echo', { start: { input: {} } })).result;
  assert.equal(unfit.code, 'invalid_input');
  assert.equal(unfit.stack, undefined, 'no line of the author is on it');
});

test('items is interrupted and goes on until all 5,000 are there, each once', async () => {
  const records = new Map();
  let checkpoint = null;
  let version = 0;
  const attempts = [];
  for (let attempt = 1; attempt <= 10; attempt++) {
    let saves = 0;
    const answers = {
      'proxy.request': proxied,
      'metadata.get': { page_size: 250, delay_ms: 1 },
      'checkpoint.get': () => ({ checkpoint, version }),
      'checkpoint.save': ({ checkpoint: saved, version: replaced }) => {
        assert.equal(replaced, version);
        checkpoint = saved;
        return { version: ++version, stop: ++saves === 8 };
      },
      'checkpoint.clear': () => ({ version: ++version }),
      'records.save': ({ records: saved }) => {
        for (const record of saved) records.set(record.id, (records.get(record.id) ?? 0) + 1);
        return { added: saved.length, updated: 0, unchanged: 0, deleted: 0 };
      },
    };
    const { result } = await runs('items', { answers, start: { kind: 'sync', attempt } });
    attempts.push(result.is);
    if (result.is !== 'interrupted') break;
  }
  assert.deepEqual(attempts, ['interrupted', 'interrupted', 'completed']);
  assert.equal(records.size, 5_000);
  assert.ok([...records.values()].every((times) => times === 1));
});

test('a delivery is handled', async () => {
  const raw = '{"id":"d-1","event":"push"}';
  const { result, peer } = await runs('delivery', { start: { kind: 'webhook', input: { headers: {}, body: JSON.parse(raw), raw } } });
  assert.equal(result.output.handled, 'd-1');
  assert.deepEqual(peer.logs.map(({ message }) => message), ['push d-1']);
});

test('break-out tells honestly what worked, where there is no wall', async () => {
  const denied = Object.fromEntries(
    ['169.254.169.254', '127.0.0.1', '10.0.0.1', '::ffff:169.254.169.254'].map((host) => [host, { code: 'egress_denied', message: 'not public', rule: 'private' }]),
  );
  const { result } = await runs('break-out', { gateway: { denied } });
  const { attempts, refused, succeeded } = result.output;
  assert.equal(attempts.length, refused + succeeded.length);
  const connects = attempts.filter(({ attempt }) => attempt.startsWith('connect'));
  assert.ok(connects.length === 4 && connects.every(({ why }) => why.includes('(rule private)')), JSON.stringify(connects));
  // Without a wall other processes can be seen: the function must say so, or behind a wall it would prove nothing.
  assert.ok(succeeded.includes('see other processes'));
});

test('bench functions come back', async () => {
  assert.equal((await runs('noop', { start: { input: { n: 7 } } })).result.output.n, 7);
  assert.equal((await runs('noop', { start: { input: null } })).result.output.n, 0);
  assert.equal((await runs('sleep', { start: { input: { ms: 5 } } })).result.output.slept, 5);
});

test('what misbehaves ends with its name', async () => {
  const cases = [
    ['big-output', null, 'output_too_large'],
    ['exit', null, 'script_error'],
    ['never-settles', null, 'handler_never_settled'],
    ['throws', { how: 'error' }, 'script_error'],
    ['throws', { how: 'action_error' }, 'action_error'],
    ['throws', { how: 'text' }, 'script_error'],
    ['throws', { how: 'later' }, 'script_error'],
    ['throws', { how: 'rejection' }, 'script_error'],
    ['throws', { how: 'upstream' }, 'upstream_error'],
    ['throws', { how: 'nonsense' }, 'invalid_input'],
  ];
  const answers = {
    'proxy.request': () => {
      throw Object.assign(new Error('x'), { code: 'upstream_error', payload: { status: 404, statusText: '', headers: {} } });
    },
  };
  for (const [name, input, code] of cases) {
    const { result } = await runs(name, { answers, start: { input, output_bytes: 10_000 } });
    assert.equal(result.error?.code, code, `${name} ${JSON.stringify(result)}`);
  }
});

test('a log flood is told whole', async () => {
  const { peer, result } = await runs('log-flood', { start: { input: { lines: 5_000 } } });
  assert.deepEqual(result.output, { logged: 5_000 });
  assert.equal(peer.logs.length, 5_000);
});

test('cancel-me ends when it is told to', async () => {
  const peer = await sandbox(null, { file: files['cancel-me'], flags });
  peer.start();
  await peer.begun;
  peer.send(Kind.Signal, { is: 'cancel' });
  assert.match((await peer.result()).error.message, /cancelled/);
});

test('crash crashes', async () => {
  const peer = await sandbox(null, { file: files.crash, flags });
  peer.start();
  assert.equal((await peer.exited)[1], 'SIGABRT');
});

test('the demo API pages by offset, by cursor and by link', async () => {
  const get = async (url) => {
    const response = await fetch(new URL(url, api.url));
    return { body: await response.json(), headers: response.headers, status: response.status };
  };
  assert.equal((await get('/items?offset=4990')).body.items.length, 10);
  assert.equal((await get('/items?offset=5000')).body.items.length, 0);
  const ids = new Set();
  for (let cursor = ''; cursor !== null; ) {
    const { body } = await get(`/items/by-cursor?limit=999${cursor && `&cursor=${cursor}`}`);
    for (const { id } of body.items) ids.add(id);
    cursor = body.next;
  }
  assert.equal(ids.size, 5_000);
  const linked = await get('/items/by-link?offset=4800&limit=100');
  assert.match(linked.headers.get('link'), /offset=4900&limit=100>; rel="next"/);
  assert.equal((await get('/items/by-link?offset=4900&limit=100')).headers.get('link'), null);
  assert.equal((await get('/nothing')).status, 404);
});

