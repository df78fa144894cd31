// A client of `bulkhead mcp`, for tests: node mcp-client.mjs stdio|http BULKHEAD SERVER PROJECT, the key in BULKHEAD_KEY.
// Runs the action bench/noop, looks at it, and asks what a deploy would change; prints what it was told as JSON.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { fileURLToPath, pathToFileURL } from 'node:url';

const require = createRequire(fileURLToPath(new URL('../../mcp/serve.mjs', import.meta.url)));
const sdk = (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/client/${name}`)));
const { Client } = await sdk('index.js');

const [, , way, bulkhead, server, project] = process.argv;
const key = process.env.BULKHEAD_KEY;
const args = ['--set', `server=${server}`, 'mcp', '--project', project];
const client = new Client({ name: 'test', version: '1' });
let child;
if (way === 'stdio') {
  const { StdioClientTransport } = await sdk('stdio.js');
  await client.connect(new StdioClientTransport({ command: bulkhead, args, env: { ...process.env, BULKHEAD_KEY: key } }));
} else {
  const { StreamableHTTPClientTransport } = await sdk('streamableHttp.js');
  const { BULKHEAD_KEY: _, ...env } = process.env;
  child = spawn(bulkhead, [...args, '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'inherit', 'pipe'], env });
  const [line] = await once(createInterface(child.stderr), 'line');
  const requestInit = { headers: { authorization: `Bearer ${key}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(JSON.parse(line).url), { requestInit }));
}

const call = async (name, given = {}) => {
  const { content, isError } = await client.callTool({ name, arguments: given }, undefined, { timeout: 110_000 });
  if (isError) throw new Error(`${name}: ${content[0].text}`);
  return JSON.parse(content[0].text);
};
const tools = (await client.listTools()).tools.map(({ name }) => name);
const ran = await call('run_bench_noop', { input: { n: 7 } });
const { executions } = await call('list_executions', { function: 'bench/noop', limit: 1 });
const { state } = await call('show_execution', { id: executions[0].id });
await call('read_logs', { id: executions[0].id });
const { changes } = await call('deploy', { dry_run: true });
console.log(JSON.stringify({ tools, ran, state, changes }));
await client.close();
if (child) {
  child.kill('SIGTERM');
  await once(child, 'exit');
}
