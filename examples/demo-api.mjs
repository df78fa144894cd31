// A small HTTP API to try functions against: node examples/demo-api.mjs [--port 0] [--items 5000] [--until-stdin-ends]
// Prints {"url": "http://127.0.0.1:PORT"} as one line of JSON, and serves until it is ended.

import http from 'node:http';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    items: { type: 'string', default: '5000' },
    // So that it ends with whoever started it, however that ends.
    'until-stdin-ends': { type: 'boolean', default: false },
  },
});
const ITEMS = Number(values.items);
const LIMIT_MAX = 1_000;
const DELAY_MS_MAX = 10_000;
const BODY_BYTES_MAX = 1024 * 1024;

const item = (n) => ({
  id: `item-${String(n).padStart(6, '0')}`,
  name: `Item ${n}`,
  price: (n * 37) % 1000,
  updated_at: new Date(Date.UTC(2026, 0, 1) + n * 60_000).toISOString(),
});

/** Items from `offset` on, at most `limit`. */
function page(offset, limit) {
  const from = Math.max(0, offset);
  const to = Math.min(ITEMS, from + limit);
  return Array.from({ length: Math.max(0, to - from) }, (_, n) => item(from + n));
}

function asked(url) {
  const number = (name, otherwise) => Number(url.searchParams.get(name) ?? otherwise);
  const limit = Math.min(LIMIT_MAX, Math.max(1, number('limit', 100)));
  return { offset: number('offset', 0), limit, cursor: url.searchParams.get('cursor') };
}

const routes = {
  'GET /items': (url) => ({ items: page(asked(url).offset, asked(url).limit), total: ITEMS }),
  'GET /items/by-cursor': (url) => {
    const { cursor, limit } = asked(url);
    const offset = cursor === null ? 0 : Number(Buffer.from(cursor, 'base64url').toString());
    const more = offset + limit < ITEMS;
    return { items: page(offset, limit), next: more ? Buffer.from(String(offset + limit)).toString('base64url') : null };
  },
  'GET /items/by-link': (url, request, headers) => {
    const { offset, limit } = asked(url);
    const next = new URL(url);
    next.searchParams.set('offset', String(offset + limit));
    next.searchParams.set('limit', String(limit));
    if (offset + limit < ITEMS) headers.link = `<${next}>; rel="next"`;
    return page(offset, limit);
  },
  'POST /echo': (url, request, headers, body) => ({
    body: JSON.parse(body || 'null'),
    query: Object.fromEntries(url.searchParams),
    authorized: request.headers.authorization !== undefined,
  }),
  'GET /status': (url, request, headers) => {
    headers.status = asked(url).offset || 200;
    return { ok: true };
  },
};

async function bodyOf(request) {
  const pieces = [];
  let bytes = 0;
  for await (const piece of request) {
    bytes += piece.length;
    if (bytes > BODY_BYTES_MAX) throw new Error('the body is too large');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

async function answer(request, response) {
  const url = new URL(request.url, `http://${request.headers.host ?? 'localhost'}`);
  const route = routes[`${request.method} ${url.pathname}`];
  const headers = { 'content-type': 'application/json' };
  try {
    const body = await bodyOf(request);
    const delay = Math.min(DELAY_MS_MAX, Number(url.searchParams.get('delay_ms') ?? 0));
    if (delay > 0) await new Promise((done) => setTimeout(done, delay));
    const value = route?.(url, request, headers, body) ?? { error: `there is no ${request.method} ${url.pathname}` };
    const { status = route ? 200 : 404, ...sent } = headers;
    response.writeHead(status, sent).end(JSON.stringify(value));
  } catch (error) {
    response.writeHead(400, headers).end(JSON.stringify({ error: error.message }));
  }
}

const server = http.createServer(answer);
server.keepAliveTimeout = 60_000;
server.listen(Number(values.port), '127.0.0.1', () => {
  process.stdout.write(`${JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })}\n`);
});
process.on('SIGTERM', () => process.exit(0));
if (values['until-stdin-ends']) process.stdin.resume().on('end', () => process.exit(0));
