// paginate() against tables: what is requested, what is yielded, when it ends.

import assert from 'node:assert/strict';
import test from 'node:test';
import { defaultsFor, linkOf, pages, paginateMembers, withAt } from '../harness/src/context/paginate.mjs';

/** Plays responses one after the other; tells what was requested and yielded. */
async function play(config, responses, defaults) {
  const requests = [];
  const yielded = [];
  const next = responses[Symbol.iterator]();
  const request = async ({ method, ...asked }) => {
    requests.push(structuredClone(asked));
    const { value, done } = next.next();
    assert.ok(!done, `an unexpected request: ${JSON.stringify(asked)}`);
    return { headers: {}, ...value };
  };
  for await (const page of pages(request, config, defaults)) yielded.push(page);
  return { requests, yielded };
}

const cursorRule = { type: 'cursor', cursor_name_in_request: 'after', cursor_path_in_response: 'meta.next', response_path: 'items' };
const cursorPage = (items, next) => ({ data: { items, meta: { next } } });

test('by cursor, in the query', async () => {
  const paginate = { ...cursorRule, limit: 2, limit_name_in_request: 'per_page' };
  const { requests, yielded } = await play({ endpoint: '/a', params: { q: 'x' }, paginate }, [
    cursorPage([1, 2], 'c1'),
    cursorPage([3], 42),
    cursorPage([4], null),
  ]);
  assert.deepEqual(yielded, [[1, 2], [3], [4]]);
  assert.deepEqual(requests.map(({ params }) => params), [
    { q: 'x', per_page: '2' },
    { q: 'x', per_page: '2', after: 'c1' },
    { q: 'x', per_page: '2', after: '42' },
  ]);
});

test('by cursor it ends at an empty page, and at a cursor that is none', async () => {
  for (const end of [null, undefined, '', '  ', true, {}, ['x']]) {
    const { yielded } = await play({ endpoint: '/a', paginate: cursorRule }, [cursorPage([1], end)]);
    assert.deepEqual(yielded, [[1]], JSON.stringify(end));
  }
  const { yielded } = await play({ endpoint: '/a', paginate: cursorRule }, [cursorPage([1], 'c'), cursorPage([], 'd')]);
  assert.deepEqual(yielded, [[1]]);
});

test('by cursor, in a body, where dotted names nest', async () => {
  const config = {
    endpoint: '/a',
    method: 'POST',
    data: { variables: { first: 1 } },
    paginate: { ...cursorRule, cursor_name_in_request: 'variables.after', limit: 5, limit_name_in_request: 'variables.size' },
  };
  const { requests } = await play(config, [cursorPage([1], 'c1'), cursorPage([2], '')]);
  assert.deepEqual(requests.map(({ data }) => data), [
    { variables: { first: 1, size: 5 } },
    { variables: { first: 1, size: 5, after: 'c1' } },
  ]);
  assert.deepEqual(config.data, { variables: { first: 1 } }, "the caller's body is not changed");
});

test('the page is yielded first, then on_page is awaited', async () => {
  const order = [];
  const on_page = async ({ nextPageParam, response }) => {
    await null;
    order.push(`on_page ${nextPageParam} ${response.data.items}`);
  };
  const answers = [cursorPage([1], 'c1'), cursorPage([2], undefined)];
  const request = async () => ({ headers: {}, ...answers.shift() });
  for await (const page of pages(request, { endpoint: '/a', paginate: { ...cursorRule, on_page } })) order.push(`page ${page}`);
  assert.deepEqual(order, ['page 1', 'on_page c1 1', 'page 2', 'on_page undefined 2']);
});

test('by link in the header: an absolute one replaces base and path, parameters are dropped', async () => {
  const paginate = { type: 'link', link_rel_in_response_header: 'next' };
  const config = { endpoint: '/a', baseUrlOverride: 'https://one.test', params: { q: 1 }, paginate };
  const { requests, yielded } = await play(config, [
    { data: [1], headers: { link: '<https://two.test/b?page=2>; rel="next", <https://x.test>; rel="last"' } },
    { data: [], headers: { link: '</c?page=3>; rel=next' } },
    { data: [3], headers: {} },
  ]);
  assert.deepEqual(yielded, [[1], [], [3]], 'an empty page is yielded too');
  assert.deepEqual(requests, [
    { endpoint: '/a', baseUrlOverride: 'https://one.test', params: { q: 1 } },
    { endpoint: '/b?page=2', baseUrlOverride: 'https://two.test' },
    { endpoint: '/c?page=3', baseUrlOverride: 'https://one.test' },
  ]);
});

test('by link in the body, until it is missing or does not change', async () => {
  const paginate = { type: 'link', link_path_in_response_body: 'links.next', response_path: 'data' };
  const page = (data, next) => ({ data: { data, links: { next } } });
  const same = await play({ endpoint: '/a', paginate }, [page([1], '/b'), page([2], '/b')]);
  assert.deepEqual(same.yielded, [[1], [2]]);
  const missing = await play({ endpoint: '/a', paginate }, [page([1], undefined)]);
  assert.deepEqual(missing.yielded, [[1]]);
});

test('a field with dots in its name is found', async () => {
  const paginate = { type: 'link', link_path_in_response_body: '@odata.nextLink', response_path: 'value' };
  const next = 'https://graph.test/v1.0/users?$skiptoken=x';
  const { requests, yielded } = await play({ endpoint: '/v1.0/users', paginate }, [
    { data: { value: [1], '@odata.nextLink': next } },
    { data: { value: [2] } },
  ]);
  assert.deepEqual([yielded, requests.length], [[[1], [2]], 2]);
  assert.deepEqual(requests[1], { endpoint: '/v1.0/users?$skiptoken=x', baseUrlOverride: 'https://graph.test' });
});

const offsetRule = { type: 'offset', offset_name_in_request: 'offset' };

test('by offset: text in a query, a number in a body', async () => {
  const paginate = { ...offsetRule, limit: 2, limit_name_in_request: 'limit' };
  const query = await play({ endpoint: '/a', paginate }, [{ data: [1, 2] }, { data: [3] }]);
  assert.deepEqual(query.requests.map(({ params }) => params), [{ limit: '2', offset: '0' }, { limit: '2', offset: '2' }]);
  const body = await play({ endpoint: '/a', method: 'PUT', paginate }, [{ data: [1, 2] }, { data: [] }]);
  assert.deepEqual(body.requests.map(({ data }) => data), [{ limit: 2, offset: 0 }, { limit: 2, offset: 2 }]);
});

test('by offset: by pages, from a start of its own, until a short or an empty page', async () => {
  const paginate = { ...offsetRule, offset_start_value: 1, offset_calculation_method: 'per-page', limit: '2' };
  const { requests, yielded } = await play({ endpoint: '/a', paginate }, [{ data: [1, 2] }, { data: [3, 4] }, { data: [5] }]);
  assert.deepEqual(requests.map(({ params }) => params.offset), ['1', '2', '3']);
  assert.deepEqual(yielded, [[1, 2], [3, 4], [5]]);
  const unlimited = await play({ endpoint: '/a', paginate: offsetRule }, [{ data: [1, 2] }, { data: [3] }, { data: [] }]);
  assert.deepEqual(unlimited.requests.map(({ params }) => params.offset), ['0', '2', '3']);
});

test("by offset: on_page is not called on the last, short page", async () => {
  const seen = [];
  const paginate = { ...offsetRule, limit: 2, on_page: ({ nextPageParam }) => void seen.push(nextPageParam) };
  await play({ endpoint: '/a', paginate }, [{ data: [1, 2] }, { data: [3] }]);
  assert.deepEqual(seen, [2]);
});

test("the provider's rule is merged under the call's", async () => {
  const defaults = { ...offsetRule, limit: 100, response_path: 'rows' };
  const { requests, yielded } = await play({ endpoint: '/a', paginate: { limit: 1 } }, [{ data: { rows: [1] } }, { data: { rows: [] } }], defaults);
  assert.deepEqual(yielded, [[1]]);
  assert.equal(requests.length, 2);
});

test("the provider's rule comes from its integration, and stands under a call that goes the same way", async () => {
  const rule = { type: 'cursor', cursor_name_in_request: 'after', cursor_path_in_response: 'next', response_path: 'items', limit: 50, limit_name_in_request: 'size' };
  const played = async (paginate, integration) => {
    const requests = [];
    const yielded = [];
    const proxy = async ({ endpoint, params }) => {
      requests.push({ endpoint, params });
      return { headers: {}, status: 200, data: { items: [1], rows: [2], next: null } };
    };
    const { paginate: read } = paginateMembers({}, { proxy, getIntegration: integration });
    for await (const page of read({ endpoint: '/a', paginate })) yielded.push(page);
    return { requests, yielded };
  };
  const known = async () => ({ unique_key: 'demo', pagination: rule });
  const silent = await played(undefined, known);
  assert.deepEqual(silent, { requests: [{ endpoint: '/a', params: { size: '50' } }], yielded: [[1]] });
  const same = await played({ type: 'cursor', response_path: 'rows' }, known);
  assert.deepEqual(same, { requests: [{ endpoint: '/a', params: { size: '50' } }], yielded: [[2]] });
  const other = { type: 'offset', offset_name_in_request: 'skip', response_path: 'rows', limit: 2 };
  assert.deepEqual((await played(other, known)).requests, [{ endpoint: '/a', params: { skip: '0' } }]);
  const none = async () => { throw Object.assign(new Error('none'), { code: 'integration_not_found' }); };
  assert.deepEqual((await played(other, none)).yielded, [[2]]);
  await assert.rejects(played(undefined, none), /needs a type/);
  const byHeader = { type: 'link', link_rel_in_response_header: 'next', limit: 1 };
  assert.deepEqual(defaultsFor({ link_path_in_response_body: 'next' }, byHeader), { type: 'link', limit: 1 });
  assert.deepEqual(defaultsFor({ limit: 2 }, byHeader), byHeader);
});

test('in_body puts parameters of a GET into its body', async () => {
  const { requests } = await play({ endpoint: '/a', paginate: { ...offsetRule, in_body: true } }, [{ data: [] }]);
  assert.deepEqual(requests, [{ endpoint: '/a', data: { offset: 0 } }]);
});

test('what is missing is named', async () => {
  const cases = [
    [undefined, /needs a type/],
    [{ type: 'pages' }, /needs a type: cursor, link, offset; it is pages/],
    [{ type: 'cursor', cursor_name_in_request: 'a' }, /cursor_path_in_response/],
    [{ type: 'link' }, /link_rel_in_response_header or link_path_in_response_body/],
    [{ type: 'offset' }, /offset_name_in_request/],
  ];
  for (const [paginate, message] of cases) await assert.rejects(play({ endpoint: '/a', paginate }, []), { message });
  await assert.rejects(play({ endpoint: '/a', paginate: { ...offsetRule, response_path: 'x' } }, [{ data: { x: 'text' } }]), /x is no array/);
});

test('a page that is too large, or no JSON, ends it with its error after the pages before', async () => {
  const paginate = { ...cursorRule, limit: 2, limit_name_in_request: 'per_page' };
  for (const [second, wanted] of [
    [() => { throw Object.assign(new Error('ask for less at once'), { code: 'response_too_large' }); }, { code: 'response_too_large' }],
    [() => ({ headers: {}, status: 200, data: '<html>Maintenance</html>' }), { isUpstream: true, code: 'ERR_BAD_RESPONSE' }],
    [() => ({ headers: {}, status: 204, data: '' }), undefined],
  ]) {
    const answers = [() => ({ headers: {}, ...cursorPage([1, 2], 'c1') }), second];
    const yielded = [];
    const read = async () => {
      for await (const page of pages(async () => answers.shift()(), { endpoint: '/a', paginate })) yielded.push(page);
    };
    if (wanted) await assert.rejects(read(), wanted);
    else await read();
    assert.deepEqual(yielded, [[1, 2]]);
  }
});

test('link headers as RFC 8288 has them', () => {
  const cases = [
    ['<https://a.test/?x=1,2;3>; rel="next"', 'https://a.test/?x=1,2;3'],
    ['<https://a.test>; title="a, \\"b\\"; rel=no"; rel="prev next"', 'https://a.test'],
    ['<https://a.test>; rel=prev, <https://b.test>; REL=NEXT', 'https://b.test'],
    [['<https://a.test>; rel=prev', '<https://b.test>;rel=next'], 'https://b.test'],
    ['<https://a.test>; rel="nextish"', undefined],
    ['<https://a.test/?cursor=0:100:0>; rel="next"; results="true"; cursor="0:100:0"', 'https://a.test/?cursor=0:100:0'],
    ['<https://a.test/?cursor=0:200:0>; rel="next"; results="false"; cursor="0:200:0"', undefined],
    ['<https://a.test>', undefined],
    ['', undefined],
    [undefined, undefined],
  ];
  for (const [header, target] of cases) assert.equal(linkOf(header, 'next'), target, JSON.stringify(header));
});

test('a dotted path makes what is missing on the way', () => {
  assert.deepEqual(withAt(undefined, 'a.b', 1), { a: { b: 1 } });
  assert.deepEqual(withAt({ a: { c: 2 } }, 'a.b', 1), { a: { c: 2, b: 1 } });
  assert.deepEqual(withAt('text', 'a', 1), { a: 1 });
});
