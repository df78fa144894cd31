// Bulkhead's HTTP API, as far as tools need it. Every answer has a size limit, every request a deadline.

/** Ordinary requests. */
const QUICK_MS = 30_000;
/** Requests that wait for an execution: the API's own limit, and some room. */
const WAITS_MS = 15 * 60_000 + 10_000;
/** Bytes of one answer: an action's output has 6 MiB by default. */
const ANSWER_BYTES_MAX = 16 << 20;

/** The API said no, or could not be asked. */
export class ApiError extends Error {
  /** @param {{code: string, message: string, payload?: unknown}} detail */
  constructor(detail) {
    super(detail.message);
    this.detail = detail;
  }
}

/** @param {string} server @param {string} key a tenant's */
export function api(server, key) {
  const ask = async (method, path, { query = {}, headers = {}, body, waits = false, signal } = {}) => {
    const url = new URL(path, `${server.replace(/\/+$/, '')}/`);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
    const deadline = AbortSignal.timeout(waits ? WAITS_MS : QUICK_MS);
    const response = await fetch(url, {
      method,
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      redirect: 'error',
    }).catch((error) => {
      throw new ApiError({ code: 'unreachable', message: `${server} can't be asked: ${error.cause?.message ?? error.message}` });
    });
    const text = await limited(response);
    const value = parsed(text);
    if (response.ok) return value;
    throw new ApiError(value?.error ?? { code: `http_${response.status}`, message: `The server answered ${response.status}` });
  };
  const path = (...parts) => parts.map((part) => encodeURIComponent(part)).join('/');
  return {
    functions: () => ask('GET', 'v1/functions'),
    executions: (query) => ask('GET', 'v1/executions', { query }),
    execution: (id) => ask('GET', `v1/executions/${path(id)}`),
    logs: (id, query) => ask('GET', `v1/executions/${path(id)}/logs`, { query }),
    run: ({ integration, name }, connection, input, signal) =>
      ask('POST', `v1/actions/${path(integration, name)}`, {
        headers: connection === undefined ? {} : { 'connection-id': connection },
        body: input,
        waits: true,
        signal,
      }),
  };
}

async function limited(response) {
  const pieces = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.length;
    if (bytes > ANSWER_BYTES_MAX) {
      throw new ApiError({ code: 'answer_too_large', message: `The answer has more than ${ANSWER_BYTES_MAX} bytes` });
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

function parsed(text) {
  try {
    return text === '' ? null : JSON.parse(text);
  } catch {
    throw new ApiError({ code: 'strange_answer', message: 'The server did not answer with JSON; is the URL that of a Bulkhead server?' });
  }
}
