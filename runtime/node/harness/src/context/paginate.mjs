// paginate(): pages of a list that an API hands out by cursor, by link or by offset.

const BODY_METHODS = new Set(['POST', 'PUT', 'PATCH']);

/** The value at a dotted path, or undefined. A field may have the dots in its name, as `@odata.nextLink` does. */
export function at(value, path) {
  if (path === undefined || path === '') return value;
  if (value !== null && typeof value === 'object' && Object.hasOwn(value, path)) return value[path];
  return path.split('.').reduce((inner, name) => inner?.[name], value);
}

/** Sets the value at a dotted path, making the objects on the way. The body that was passed is not changed. */
export function withAt(body, path, value) {
  const [name, ...rest] = path.split('.');
  const object = body !== null && typeof body === 'object' ? body : {};
  const inner = rest.length === 0 ? value : withAt(object[name], rest.join('.'), value);
  return { ...object, [name]: inner };
}

/** Sets a parameter where this API wants it: in the body or in the query. */
export function withParameter(config, inBody, name, value) {
  if (inBody) return { ...config, data: withAt(config.data, name, value) };
  const params = typeof config.params === 'string' ? Object.fromEntries(new URLSearchParams(config.params)) : config.params;
  return { ...config, params: { ...params, [name]: typeof value === 'number' ? String(value) : value } };
}

/**
 * The target of the link with this relation in a Link header (RFC 8288), or undefined.
 * @param {string | string[] | undefined} header
 * @param {string} relation
 */
export function linkOf(header, relation) {
  const text = Array.isArray(header) ? header.join(', ') : (header ?? '');
  const links = text.matchAll(/<([^>]*)>((?:\s*;\s*[^\s=;,]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?)*)/g);
  for (const [, target, parameters] of links) {
    const relations = parameter(parameters, 'rel').split(/\s+/);
    // Sentry links to a next page for ever, and says when there is nothing on it.
    if (relations.includes(relation.toLowerCase()) && parameter(parameters, 'results') !== 'false') return target;
  }
  return undefined;
}

/** The first of a link's parameters that is called so; the text `rel=` may also stand within another's quotes. */
function parameter(parameters, wanted) {
  const each = parameters.matchAll(/;\s*([^\s=;,]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?/g);
  for (const [, name, quoted, token] of each) {
    if (name.toLowerCase() === wanted) return (quoted ?? token ?? '').toLowerCase();
  }
  return '';
}

/** A cursor to go on with: not blank, a string or a number. */
function usableCursor(cursor) {
  if (typeof cursor === 'string') return cursor.trim() !== '';
  return typeof cursor === 'number';
}

/** The request for a link: an absolute one replaces base and path, and parameters are all in the link. */
export function followLink(config, link) {
  const { params: _, ...rest } = config;
  if (!/^https?:\/\//i.test(link)) return { ...rest, endpoint: link };
  const url = new URL(link);
  return { ...rest, baseUrlOverride: url.origin, endpoint: url.pathname + url.search };
}

async function* byCursor(request, config, rule) {
  let next = config;
  for (;;) {
    const response = await request(next);
    const page = rule.page(response);
    if (page.length === 0) return;
    yield page;
    const cursor = at(response.data, rule.cursor_path_in_response);
    const more = usableCursor(cursor);
    await rule.on_page?.({ nextPageParam: more ? cursor : undefined, response });
    if (!more) return;
    next = withParameter(config, rule.inBody, rule.cursor_name_in_request, cursor);
  }
}

async function* byLink(request, config, rule) {
  let next = config;
  let last;
  for (;;) {
    const response = await request(next);
    yield rule.page(response);
    const link = rule.link_rel_in_response_header
      ? linkOf(response.headers?.link ?? response.headers?.Link, rule.link_rel_in_response_header)
      : at(response.data, rule.link_path_in_response_body);
    const more = typeof link === 'string' && link !== '' && link !== last;
    await rule.on_page?.({ nextPageParam: more ? link : undefined, response });
    if (!more) return;
    last = link;
    next = followLink(config, link);
  }
}

async function* byOffset(request, config, rule) {
  const perPage = rule.offset_calculation_method === 'per-page';
  let offset = Number(rule.offset_start_value ?? 0);
  for (;;) {
    const response = await request(withParameter(config, rule.inBody, rule.offset_name_in_request, offset));
    const page = rule.page(response);
    if (page.length === 0) return;
    yield page;
    if (rule.limit !== undefined && page.length < rule.limit) return;
    offset += perPage ? 1 : page.length;
    await rule.on_page?.({ nextPageParam: offset, response });
  }
}

const WAYS = { cursor: byCursor, link: byLink, offset: byOffset };

/** What a way needs to be told. */
const NEEDED = {
  cursor: ['cursor_name_in_request', 'cursor_path_in_response'],
  link: [],
  offset: ['offset_name_in_request'],
};

function checkRule(rule) {
  const way = WAYS[rule.type];
  if (way === undefined) {
    throw new TypeError(`paginate needs a type: ${Object.keys(WAYS).join(', ')}; it is ${rule.type ?? 'missing'}`);
  }
  for (const name of NEEDED[rule.type]) {
    if (!rule[name]) throw new TypeError(`paginate by ${rule.type} needs ${name}`);
  }
  if (rule.type === 'link' && !rule.link_rel_in_response_header && !rule.link_path_in_response_body) {
    throw new TypeError('paginate by link needs link_rel_in_response_header or link_path_in_response_body');
  }
  return way;
}

/**
 * Yields page after page.
 * @param {(config: object) => Promise<{data: any, headers: object}>} request
 * @param {object} config of the first request, with `paginate` merged over the provider's defaults
 * @param {object} [defaults] the provider's
 */
export async function* pages(request, config, defaults = {}) {
  const { paginate, ...first } = config;
  const rule = { ...defaults, ...paginate };
  const way = checkRule(rule);
  const method = (config.method ?? 'GET').toUpperCase();
  rule.method = method;
  rule.inBody = rule.in_body ?? BODY_METHODS.has(method);
  rule.limit = rule.limit === undefined ? undefined : Number(rule.limit);
  rule.page = (response) => {
    const { data } = response;
    // A page for people, with status 200: taken for an empty page it would end the list, and delete what is on the rest.
    if (typeof data === 'string' && data.trim() !== '') throw noPage(response);
    const page = at(data, rule.response_path);
    if (page === undefined || page === null) return [];
    if (Array.isArray(page)) return page;
    throw new TypeError(`paginate: ${rule.response_path || 'the response'} is no array; set response_path`);
  };
  const limited =
    rule.limit_name_in_request && rule.limit !== undefined
      ? withParameter(first, rule.inBody, rule.limit_name_in_request, rule.limit)
      : first;
  yield* way(request, limited, rule);
}

/** As an answer is told that is not 2xx: the API is at fault, and what it said goes along. */
function noPage(response) {
  const type = response.headers?.['content-type'] ?? 'text';
  const error = new Error(`paginate: the API answered ${response.status} with ${type} where a page of JSON was asked for`);
  Object.defineProperty(error, 'isUpstream', { value: true });
  return Object.assign(error, { code: 'ERR_BAD_RESPONSE', status: response.status, response });
}

export function paginateMembers(_, nango) {
  return {
    paginate: async function* paginate(config) {
      const defaults = defaultsFor(config.paginate, await providersRule(nango));
      yield* pages((request) => nango.proxy(request), config, defaults);
    },
  };
}

/** The provider's own rule, if its integration has one. */
async function providersRule(nango) {
  try {
    return (await nango.getIntegration())?.pagination ?? {};
  } catch (error) {
    // Whole URLs can be asked for without an integration.
    if (error.code === 'integration_not_found') return {};
    throw error;
  }
}

/** What of the provider's rule stands under a call's own: nothing when that goes another way. */
export function defaultsFor(own = {}, rule = {}) {
  if (own.type !== undefined && own.type !== rule.type) return {};
  const { link_rel_in_response_header: header, ...rest } = rule;
  // The header is looked at first: a call that says where else the link is means that.
  return own.link_path_in_response_body === undefined && header !== undefined ? rule : rest;
}
