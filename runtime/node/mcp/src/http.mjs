// The streamable HTTP transport, without sessions: every request says whose it is, and none is remembered.

import http from 'node:http';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { serverFor } from './server.mjs';

const PATH = '/mcp';
/** An action's input has 6 MiB by default. */
const BODY_BYTES_MAX = 8 << 20;
const BODY_MS_MAX = 30_000;
/** Requests at the same time, over all clients. */
const REQUESTS_MAX = 64;
/** What a key looks like; others are not even asked about. */
const KEY = /^Bearer (bh_[0-9a-f]{1,250})$/;

/**
 * @param {object} settings as of serverFor, without a key
 * @param {{host: string, port: number, names: string[]}} listen `names`: what it may be called in a Host header
 * @returns {Promise<http.Server>} that listens
 */
export function listen(settings, { host, port, names }) {
  let running = 0;
  const server = http.createServer({ requestTimeout: BODY_MS_MAX, headersTimeout: BODY_MS_MAX }, async (request, response) => {
    if (running >= REQUESTS_MAX) return refuse(response, 503, 'too_many_requests', 'Too many requests at the same time; try again', { 'retry-after': '1' });
    running += 1;
    response.once('close', () => (running -= 1));
    try {
      await answer(settings, names, request, response);
    } catch (error) {
      process.stderr.write(`a request failed: ${error?.stack ?? error}\n`);
      if (!response.headersSent) refuse(response, 500, 'internal_error', 'The request failed');
      else response.destroy();
    }
  });
  server.maxConnections = 4 * REQUESTS_MAX;
  return new Promise((done, failed) => {
    server.once('error', failed);
    server.listen(port, host, () => done(server));
  });
}

async function answer(settings, names, request, response) {
  // A page in somebody's browser must not talk to this by another name for it, nor by its user's hand.
  const called = String(request.headers.host ?? '').replace(/:\d+$/, '');
  if (!names.includes(called)) return refuse(response, 403, 'unknown_host', `This is not ${called.slice(0, 80)}; say --host NAME if it is`);
  if (request.headers.origin !== undefined) return refuse(response, 403, 'browser', 'Browsers are not served');
  if (new URL(request.url, 'http://any').pathname !== PATH) return refuse(response, 404, 'not_found', `There is only ${PATH}`);
  if (request.method !== 'POST') return refuse(response, 405, 'method_not_allowed', 'Only POST: there are no sessions', { allow: 'POST' });
  const key = KEY.exec(request.headers.authorization ?? '')?.[1];
  if (key === undefined) {
    return refuse(response, 401, 'unauthorized', "Send a tenant's key: Authorization: Bearer bh_…", { 'www-authenticate': 'Bearer' });
  }
  const body = await read(request);
  if (body === undefined) return refuse(response, 413, 'body_too_large', `A request has at most ${BODY_BYTES_MAX} bytes`, { connection: 'close' });
  let message;
  try {
    message = JSON.parse(body);
  } catch {
    return refuse(response, 400, 'invalid_json', 'The body is no JSON');
  }
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined, enableJsonResponse: true });
  const server = serverFor({ ...settings, key });
  response.once('close', () => server.close());
  await server.connect(transport);
  return transport.handleRequest(request, response, message);
}

async function read(request) {
  const pieces = [];
  let bytes = 0;
  for await (const piece of request) {
    bytes += piece.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

function refuse(response, status, code, message, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message, data: { code } } }));
}
