// Calls of the provider's API. They are made on the host, which adds the credentials; here a request is put into
// words and an answer into the shape that functions expect: Axios's.

import { PassThrough, Readable } from 'node:stream';
import { PlatformError } from '../protocol/calls.mjs';
import { bodyInPieces, bodyOf, exchange } from './streams.mjs';

const VERBS = ['get', 'post', 'put', 'patch', 'delete'];
const PASSED_ON = [
  'baseUrlOverride',
  'retryOn',
  'retryHeader',
  'decompress',
  'providerConfigKey',
  'connectionId',
  'forwardHeadersOnRedirect',
];

/** Bytes of an answer that is asked for as a whole: the host's own limit of one. */
const ANSWER_BYTES_MAX = 32 << 20;

export function proxyMembers({ calls }) {
  const proxy = async (config) => {
    const { upload, length, ...params } = await requestParams(config);
    const toError = (error) => (error instanceof PlatformError ? upstreamError(error, config) : error);
    try {
      if (upload === undefined && config.responseType !== 'stream') {
        return shaped(await calls.call('proxy.request', params), config);
      }
      const { head, body } = await exchange(calls, params, { upload, length }, toError);
      if (config.responseType === 'stream') return { ...shaped(head, config), data: body };
      return shaped({ ...head, ...(await whole(body, params.responseType)) }, config);
    } catch (error) {
      throw toError(error);
    }
  };
  const verbs = VERBS.map((verb) => [verb, (config) => proxy({ ...config, method: verb.toUpperCase() })]);
  return { proxy, ...Object.fromEntries(verbs) };
}

/** A streamed answer, in the shape that `proxy.request` would have given it. */
async function whole(body, responseType) {
  const held = [];
  let length = 0;
  for await (const piece of body) {
    held.push(piece);
    length += piece.length;
    if (length > ANSWER_BYTES_MAX) {
      const message = `the answer has more than ${ANSWER_BYTES_MAX} bytes; take it as a stream (responseType: 'stream')`;
      throw new PlatformError({ code: 'response_too_large', message });
    }
  }
  const bytes = Buffer.concat(held);
  if (responseType === 'arraybuffer') return { base64: bytes.toString('base64') };
  const text = bytes.toString();
  if (responseType === 'text') return { text };
  try {
    return { json: JSON.parse(text) };
  } catch {
    return { text };
  }
}

/** `proxy.request`'s parameters; instead of a long body `upload` with its pieces, and `length` if it is known. */
export async function requestParams(config) {
  if (typeof config?.endpoint !== 'string') throw new TypeError('A request needs an endpoint, such as "/v1/items"');
  const params = { method: (config.method ?? 'GET').toUpperCase(), endpoint: config.endpoint };
  for (const name of PASSED_ON) if (config[name] !== undefined && config[name] !== null) params[name] = config[name];
  // Existing functions also write it as text.
  if (config.retries !== undefined) params.retries = Math.max(0, Math.trunc(Number(config.retries)) || 0);
  if (config.params !== undefined) params.params = queryParams(config.params);
  // An arraybuffer, a stream and a blob are all bytes until they are here.
  const { responseType = 'json' } = config;
  params.responseType = responseType === 'json' || responseType === 'text' ? responseType : 'arraybuffer';
  const { headers, ...body } = await requestBody(config.data);
  Object.assign(params, body);
  params.headers = { ...headers, ...plainHeaders(config.headers) };
  const length = Object.entries(params.headers).find(([name]) => name.toLowerCase() === 'content-length');
  if (body.upload !== undefined && length !== undefined) params.length ??= Number(length[1]) || undefined;
  return params;
}

/** `undefined` is skipped, arrays are joined. */
export function queryParams(params) {
  if (typeof params === 'string') return params;
  if (params instanceof URLSearchParams) return params.toString();
  const fields = Object.entries(params).filter(([, value]) => value !== undefined);
  return Object.fromEntries(fields.map(([name, value]) => [name, queryValue(value)]));
}

function queryValue(value) {
  if (Array.isArray(value)) return value.join(',');
  if (value instanceof Date) return value.toISOString();
  if (value !== null && typeof value === 'object') return JSON.stringify(value);
  return value;
}

function plainHeaders(headers) {
  if (headers === undefined || headers === null) return {};
  const entries = typeof headers.entries === 'function' ? [...headers.entries()] : Object.entries(headers);
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined).map(([k, v]) => [k, String(v)]));
}

async function requestBody(data) {
  if (data === undefined) return {};
  if (data instanceof URLSearchParams) {
    const headers = { 'content-type': 'application/x-www-form-urlencoded;charset=utf-8' };
    return { data: data.toString(), headers };
  }
  if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) return bodyOf(bytesOf(data));
  if (data instanceof FormData || data instanceof Blob) {
    const encoded = new Response(data);
    const type = encoded.headers.get('content-type');
    return { ...(await bodyInPieces(encoded.body)), headers: type ? { 'content-type': type } : {} };
  }
  if (data instanceof ReadableStream) return bodyInPieces(data);
  if (typeof data?.pipe === 'function') {
    // The `form-data` package's forms are streams that know their own type.
    const headers = typeof data.getHeaders === 'function' ? data.getHeaders() : {};
    const pieces = data.pipe(new PassThrough());
    data.once?.('error', (error) => pieces.destroy(error));
    return { ...(await bodyInPieces(pieces)), headers };
  }
  return { data };
}

function bytesOf(data) {
  return ArrayBuffer.isView(data) ? Buffer.from(data.buffer, data.byteOffset, data.byteLength) : Buffer.from(data);
}

/** An answer as Axios would give it. */
function shaped(answer, config) {
  const { status, statusText, headers } = answer;
  return { data: dataOf(answer, config.responseType), status, statusText, headers, config, request: {} };
}

function dataOf({ json, text, base64: encoded }, responseType) {
  if (encoded !== undefined) {
    const bytes = Buffer.from(encoded, 'base64');
    if (responseType === 'stream') return Readable.from([bytes], { objectMode: false });
    return responseType === 'blob' ? new Blob([bytes]) : bytes;
  }
  return json !== undefined ? json : (text ?? '');
}

/** An error as Axios would give it, for an answer that is not 2xx or none at all; others as they are. */
function upstreamError(error, config) {
  const { code, payload } = error;
  if (code !== 'upstream_error' && code !== 'upstream_unreachable') return error;
  const upstream = new Error(error.message);
  Object.defineProperty(upstream, 'isUpstream', { value: true });
  Object.assign(upstream, { name: 'AxiosError', isAxiosError: true, config, request: {} });
  if (code === 'upstream_unreachable') upstream.code = payload?.cause ?? 'ECONNRESET';
  else {
    upstream.response = shaped(payload, config);
    upstream.status = payload.status;
    upstream.code = payload.status >= 500 ? 'ERR_BAD_RESPONSE' : 'ERR_BAD_REQUEST';
    upstream.message = `Request failed with status code ${payload.status}`;
  }
  if (payload?.retryAfterMs !== undefined) upstream.retryAfterMs = payload.retryAfterMs;
  upstream.stack = error.stack.replace(/^.*$/m, `${upstream.name}: ${upstream.message}`);
  return upstream;
}
