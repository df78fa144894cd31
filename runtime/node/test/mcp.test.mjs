// The MCP server, by the protocol's own client, over both transports; behind it an API that notes what it is asked.

import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { OWN, actionTools, schemaOf } from '../mcp/src/tools.mjs';
import { NODE } from './support/peer.mjs';

const SERVE = fileURLToPath(new URL('../mcp/serve.mjs', import.meta.url));
// The client lies with the server's packages, not with ours.
const require = createRequire(SERVE);
const sdk = (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/client/${name}`)));
const { Client } = await sdk('index.js');
const { StdioClientTransport } = await sdk('stdio.js');
const { StreamableHTTPClientTransport } = await sdk('streamableHttp.js');

const KEY = `bh_${'a'.repeat(64)}`;
const FUNCTIONS = [
  { integration: 'github', kind: 'action', name: 'create-issue', version: '1', spec: { description: 'Creates an issue', input_schema: { type: 'object', properties: { title: { type: 'string' } }, required: ['title'] } } },
  { integration: 'github', kind: 'sync', name: 'issues', version: '1', spec: {} },
];

/** A Bulkhead whose answers are `answers[method path]`; notes requests. */
async function fakeApi(t, answers) {
  const seen = [];
  const server = http.createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += piece;
    seen.push({ call: `${request.method} ${request.url}`, key: request.headers.authorization, connection: request.headers['connection-id'], body });
    const refused = request.headers.authorization !== `Bearer ${KEY}`;
    const [status, value] = refused
      ? [401, { error: { code: 'unauthorized', message: 'no such key' } }]
      : (answers[`${request.method} ${request.url.split('?')[0]}`] ?? [404, { error: { code: 'not_found', message: 'no' } }]);
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(typeof value === 'string' ? value : JSON.stringify(value));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return { url: `http://127.0.0.1:${server.address().port}`, seen };
}

const ANSWERS = {
  'GET /v1/functions': [200, { functions: FUNCTIONS }],
  'POST /v1/actions/github/create-issue': [200, { number: 7 }],
  'GET /v1/executions': [200, { executions: [{ id: 'exe_1' }] }],
  'GET /v1/executions/exe_1': [200, { id: 'exe_1', state: 'failed' }],
  'GET /v1/executions/exe_1/logs': [200, { logs: [{ seq: 1, message: 'a line' }] }],
};

async function overStdio(t, url, key = KEY) {
  const transport = new StdioClientTransport({ command: NODE, args: [SERVE, '--server', url], env: { BULKHEAD_KEY: key }, stderr: 'ignore' });
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(transport);
  t.after(() => client.close());
  return client;
}

/** Starts the server over HTTP; returns where. */
async function serving(t, url) {
  const child = spawn(NODE, [SERVE, '--server', url, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(async () => {
    child.kill('SIGTERM');
    if (child.exitCode === null) await once(child, 'exit');
  });
  child.stdout.on('data', (piece) => assert.fail(`standard output is no log: ${piece}`));
  const [line] = await once(createInterface(child.stderr), 'line');
  return JSON.parse(line).url;
}

async function overHttp(t, url, key = KEY) {
  const place = await serving(t, url);
  const requestInit = { headers: { authorization: `Bearer ${key}` } };
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(place), { requestInit }));
  t.after(() => client.close());
  return client;
}

for (const [way, connect] of Object.entries({ 'standard streams': overStdio, HTTP: overHttp })) {
  test(`over ${way}: tools are listed, actions run, executions and logs read`, async (t) => {
    const { url, seen } = await fakeApi(t, ANSWERS);
    const client = await connect(t, url);
    const { tools } = await client.listTools();
    assert.deepEqual(tools.map(({ name }) => name), [...OWN.map(({ name }) => name), 'run_github_create-issue']);
    const tool = tools.at(-1);
    assert.equal(tool.description, 'Creates an issue');
    assert.deepEqual(tool.inputSchema.properties.input.required, ['title']);

    const made = await client.callTool({ name: 'run_github_create-issue', arguments: { connection_id: 'c1', input: { title: 'x' } } });
    assert.deepEqual([made.structuredContent, JSON.parse(made.content[0].text)], [{ number: 7 }, { number: 7 }]);
    const { connection, body } = seen.find(({ call }) => call.startsWith('POST'));
    assert.deepEqual([connection, JSON.parse(body)], ['c1', { title: 'x' }]);

    const text = async (name, args) => JSON.parse((await client.callTool({ name, arguments: args })).content[0].text);
    assert.equal((await text('list_functions')).functions.length, 2);
    assert.equal((await text('list_executions', { state: 'failed', limit: 5 })).executions[0].id, 'exe_1');
    assert.ok(seen.some(({ call }) => call === 'GET /v1/executions?state=failed&limit=5'));
    assert.equal((await text('show_execution', { id: 'exe_1' })).state, 'failed');
    assert.equal((await text('read_logs', { id: 'exe_1' })).logs[0].message, 'a line');
    assert.ok(seen.every(({ key }) => key === `Bearer ${KEY}`));
  });

  test(`over ${way}: what goes wrong is said, and the server goes on`, async (t) => {
    const failing = { ...ANSWERS, 'POST /v1/actions/github/create-issue': [422, { error: { code: 'action_error', message: 'no', payload: { type: 'closed' } } }], 'GET /v1/executions': [200, '<html>'] };
    const { url } = await fakeApi(t, failing);
    const client = await connect(t, url);
    const failed = await client.callTool({ name: 'run_github_create-issue', arguments: { input: {} } });
    assert.equal(failed.isError, true);
    assert.deepEqual(JSON.parse(failed.content[0].text).error, { code: 'action_error', message: 'no', payload: { type: 'closed' } });
    assert.match((await client.callTool({ name: 'list_executions' })).content[0].text, /strange_answer/);
    for (const [name, args] of [
      ['no_such_tool', {}],
      ['deploy', {}], // no project was named at the start
      ['run_github_create-issue', {}],
      ['show_execution', { id: 7 }],
      ['show_execution', { id: '../../v1/keys', more: 1 }],
      ['list_executions', { limit: 'all' }],
    ]) {
      await assert.rejects(client.callTool({ name, arguments: args }), /-32602/, `${name} ${JSON.stringify(args)}`);
    }
    // A path is never more than one segment.
    assert.match((await client.callTool({ name: 'show_execution', arguments: { id: '../functions' } })).content[0].text, /not_found/);
    assert.equal((await client.listTools()).tools.length, 5);
  });
}

test('a key that is none sees nothing', async (t) => {
  const { url } = await fakeApi(t, ANSWERS);
  for (const connect of [overStdio, overHttp]) {
    const client = await connect(t, url, `bh_${'b'.repeat(64)}`);
    await assert.rejects(client.listTools(), /unauthorized/);
    const refused = await client.callTool({ name: 'list_functions' });
    assert.deepEqual([refused.isError, JSON.parse(refused.content[0].text).error.code], [true, 'unauthorized']);
  }
});

test('over HTTP: who brings no key, too much, or comes from elsewhere is refused before anything else', async (t) => {
  const { url, seen } = await fakeApi(t, ANSWERS);
  const place = await serving(t, url);
  const headers = { authorization: `Bearer ${KEY}`, 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
  const status = async (change, path = place) => (await fetch(path, { method: 'POST', headers, body, ...change })).status;
  assert.equal(await status({}), 200);
  const asked = seen.length;
  assert.equal(await status({ headers: { ...headers, authorization: '' } }), 401);
  assert.equal(await status({ headers: { ...headers, authorization: 'Bearer admin' } }), 401);
  assert.equal(await status({ headers: { ...headers, origin: 'https://evil.test' } }), 403);
  assert.equal(await status({ body: '{' }), 400);
  assert.equal(await status({ body: ' '.repeat((8 << 20) + 1) }), 413);
  assert.equal(await status({ method: 'GET', body: undefined }), 405);
  assert.equal(await status({}, place.replace('/mcp', '/other')), 404);
  const named = await new Promise((done) => {
    http.request(place, { method: 'POST', headers: { ...headers, host: 'evil.test' } }, (answer) => done(answer.resume().statusCode)).end(body);
  });
  assert.equal(named, 403, 'by a name that points here');
  assert.equal(seen.length, asked, 'nothing of it reached the API');
});

test('names of tools are short, plain and each its own; references within schemas go along', () => {
  const action = (integration, name) => ({ integration, kind: 'action', name, spec: {} });
  const names = actionTools([action('a', 'b.c'), action('a', 'b-c'), action('x', 'y'.repeat(90)), action('x', `${'y'.repeat(89)}z`)]).map(({ tool }) => tool.name);
  assert.equal(new Set(names).size, 4, names.join(' '));
  for (const name of names) assert.match(name, /^[A-Za-z0-9_-]{1,64}$/);
  const schema = schemaOf({
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    type: 'object',
    properties: { self: { $ref: '#' }, other: { $ref: '#/$defs/o' }, deep: { $ref: '#/properties/self' }, $ref: { type: 'string' } },
    $defs: { o: { anyOf: [{ $ref: '#/$defs/o' }, { $ref: '#' }] } },
  });
  const { properties } = schema.properties.input;
  assert.deepEqual([properties.self.$ref, properties.other.$ref, properties.deep.$ref], ['#/properties/input', '#/$defs/o', '#/properties/input/properties/self']);
  assert.deepEqual([properties.$ref, schema.$defs.o.anyOf[1].$ref, schema.properties.input.$schema], [{ type: 'string' }, '#/properties/input', undefined]);
});
