// The APIs that these functions were written for, as far as they use them: tracker and ledger on one port. Whoever does
// not send the token is refused, and every path answers its first request with 503.
// Prints {"url": …} as one line of JSON and serves until standard input ends. `DELETE /payments/ID` makes one go away.

import http from 'node:http';

const TOKEN = 'Bearer token-of-the-connection';
const MEMBERS = ['Ada', 'Bob', 'Cyd', 'Dan', 'Eve'].map((name, place) => ({ gid: place + 1, name, mail: `${name}@example.test` }));
const TASKS = [1, 2, 3, 4, 5].map((n) => ({
  gid: String(n), name: `Task ${n}`, completed: n % 2 === 0, assignee: n === 1 ? { gid: 'u1' } : null, modified_at: `2026-01-0${n}T00:00:00Z`,
}));
const PROJECTS = ['Seven', 'Eight', 'Nine'].map((name, place) => ({ gid: `p${place + 7}`, name }));
const INVOICES = [1, 2, 3].map((id) => ({ id, no: `A${id}`, cents: id === 2 ? 0 : id * 100 }));
let payments = [1, 2, 3, 4, 5, 6].map((n) => ({ uuid: `p${n}`, cents: n * 100 }));
const seen = new Set();

const ROUTES = [
  ['GET', /^\/api\/1\.0\/members$/, ({ query }) => ({ data: sliced(MEMBERS, (query.page - 1) * query.limit, query.limit) })],
  // One a page, whatever is asked for; but it has to be said.
  ['GET', /^\/api\/1\.0\/projects$/, ({ query }) => {
    if (query.workspace && query.limit !== '100') return { status: 400, body: { errors: ['limit is missing'] } };
    const at = query.offset ? Number(query.offset.slice(1)) : 0;
    return { data: sliced(PROJECTS, at, 1), next_page: at + 1 < PROJECTS.length ? { offset: `o${at + 1}` } : null };
  }],
  ['GET', /^\/api\/1\.0\/projects\/p7\/tasks$/, ({ query }) => {
    const from = query.offset ? Number(query.offset.slice(1)) : 0;
    const to = from + Number(query.limit);
    return { data: TASKS.slice(from, to), next_page: to < TASKS.length ? { offset: `o${to}` } : null };
  }],
  ['POST', /^\/api\/1\.0\/tasks$/, ({ body }) => {
    const { name, projects } = JSON.parse(body).data;
    if (projects[0] !== 'p7') return { status: 404, body: { errors: ['no project'] } };
    return { data: { gid: '99', name, completed: false, assignee: null, modified_at: '2026-02-01T00:00:00Z' } };
  }],
  ['DELETE', /^\/api\/1\.0\/workspaces\/w1\/tasks\/\d+$/, () => ({ status: 204 })],
  ['GET', /^\/invoices$/, ({ query }) => ({ items: sliced(INVOICES, (query.page - 1) * query.size, query.size) })],
  ['GET', /^\/payments$/, ({ query }) => {
    const page = Number(query.page ?? 1);
    const link = page * 2 < payments.length ? { link: `</payments?page=${page + 1}>; rel="next", </payments>; rel="first"` } : {};
    return { status: 200, headers: link, body: { payments: sliced(payments, (page - 1) * 2, 2) } };
  }],
  ['DELETE', /^\/payments\/p\d$/, ({ path }) => {
    payments = payments.filter(({ uuid }) => !path.endsWith(uuid));
    return { status: 204 };
  }],
];

const sliced = (list, from, count) => list.slice(from, from + Number(count));

const server = http.createServer(async (request, response) => {
  let body = '';
  for await (const piece of request) if ((body += piece).length > 1 << 20) return response.destroy();
  const { pathname: path, searchParams } = new URL(request.url, 'http://any');
  const answer = (status, value, headers = {}) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(value === undefined ? '' : JSON.stringify(value));
  };
  if (request.headers.authorization !== TOKEN) return answer(401, { error: 'who are you?' });
  const route = ROUTES.find(([method, pattern]) => method === request.method && pattern.test(path));
  if (route === undefined) return answer(404, { error: `no ${request.method} ${path}` });
  if (request.method === 'GET' && !seen.has(path)) {
    seen.add(path);
    return answer(503, { error: 'not yet' }, { 'retry-after': '0' });
  }
  const made = route[2]({ path, body, query: Object.fromEntries(searchParams) });
  return made.status === undefined ? answer(200, made) : answer(made.status, made.body, made.headers);
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
process.stdin.on('end', () => process.exit(0)).resume();
