// The MCP server, as `bulkhead mcp` starts it.
//
//   node runtime/node/mcp/serve.mjs --server URL [--project DIR --bulkhead FILE [--set=K=V]...]        over standard streams
//   … --listen HOST:PORT [--host NAME]...                                                            over HTTP
//
// Over standard streams the tenant's key is BULKHEAD_KEY, standard output is the protocol and nothing else, and the
// server ends with its input. Over HTTP each request brings a key of its own; where it listens goes to standard error.

import { parseArgs } from 'node:util';
import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js';
import { listen } from './src/http.mjs';
import { serverFor } from './src/server.mjs';

const OPTIONS = {
  server: { type: 'string' },
  project: { type: 'string' },
  bulkhead: { type: 'string' },
  version: { type: 'string', default: '0' },
  listen: { type: 'string' },
  host: { type: 'string', multiple: true, default: [] },
  set: { type: 'string', multiple: true, default: [] },
};

// Whatever a library prints is not the protocol.
for (const name of ['log', 'info', 'debug']) console[name] = console.error;

const { values } = parseArgs({ options: OPTIONS });
const { listen: at, host: more, ...settings } = values;
if (at === undefined) {
  const transport = new StdioServerTransport();
  const server = serverFor({ ...settings, key: process.env.BULKHEAD_KEY ?? '' });
  process.stdin.on('end', () => server.close());
  await server.connect(transport);
} else {
  const url = new URL(`http://${at}`);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const server = await listen(settings, { host, port: Number(url.port || 80), names: [url.hostname, 'localhost', ...more] });
  const { port } = server.address();
  process.stderr.write(`${JSON.stringify({ url: `http://${url.hostname}:${port}/mcp` })}\n`);
  const end = () => {
    server.close(() => process.exit(0));
    // Whoever still waits for an answer has had two seconds to get it.
    setTimeout(() => process.exit(0), 2_000);
  };
  process.on('SIGTERM', end).on('SIGINT', end);
}
