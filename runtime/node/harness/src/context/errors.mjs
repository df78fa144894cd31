// What a handler can throw, and how it is told to the worker (`ResultError` of crates/protocol).

import { PlatformError } from '../protocol/calls.mjs';
import { errnoCodes } from '../net/errors.mjs';

/** Marks an ActionError of whichever copy of the SDK made it: bundles carry their own. */
export const ACTION_ERROR = Symbol.for('bulkhead.ActionError');
const STACK_LENGTH_MAX = 16 * 1024;
const MESSAGE_LENGTH_MAX = 16 * 1024;
const PAYLOAD_LENGTH_MAX = 1024 * 1024;

/** An error whose payload goes to the caller as it is. The SDK has a twin of this class; either is an instance of both. */
export class ActionError extends Error {
  /** @param {Record<string, unknown>} [payload] */
  constructor(payload) {
    super(typeof payload?.message === 'string' ? payload.message : 'The function threw an ActionError');
    this.name = 'ActionError';
    this.payload = payload ?? {};
    Object.defineProperty(this, ACTION_ERROR, { value: true });
  }

  static [Symbol.hasInstance](value) {
    if (this !== ActionError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return value?.[ACTION_ERROR] === true;
  }
}

/** The input or the output does not fit its schema. */
export class SchemaError extends Error {
  /** @param {'invalid_input' | 'invalid_output'} code @param {Array<object>} issues zod's */
  constructor(code, issues) {
    const [first] = issues;
    const where = first?.path?.length > 0 ? ` at ${first.path.join('.')}` : '';
    const what = code === 'invalid_input' ? 'input' : 'output';
    super(`The ${what} does not fit its schema${where}: ${first?.message ?? 'unknown'}`);
    this.code = code;
    this.issues = issues;
  }
}

/** How the author's error is told. Never throws, whatever was thrown. */
export function resultError(thrown) {
  try {
    return described(thrown);
  } catch {
    return { code: 'script_error', message: 'The function threw something that cannot be described' };
  }
}

function described(thrown) {
  if (!(thrown instanceof Error) && thrown?.[ACTION_ERROR] !== true) {
    return { code: 'script_error', message: text(typeof thrown === 'string' ? thrown : JSON.stringify(thrown)) };
  }
  const error = { code: codeOf(thrown), message: text(thrown.message) };
  // Input and output are checked before and after the author's code: no line of theirs is on that stack.
  if (!(thrown instanceof SchemaError)) error.stack = stackOf(thrown);
  const payload = payloadOf(thrown);
  if (payload !== undefined) error.payload = jsonOf(payload);
  const wait = retryAfterMs(thrown);
  if (wait !== undefined) error.retry_after_ms = wait;
  return error;
}

function codeOf(error) {
  if (error[ACTION_ERROR] === true) return 'action_error';
  if (error instanceof SchemaError) return error.code;
  if (error.isUpstream === true) return error.response ? 'upstream_error' : 'upstream_unreachable';
  if (error instanceof PlatformError) return error.code;
  // fetch wraps what went wrong with the connection.
  const system = [error, error.cause].find((e) => typeof e?.code === 'string' && errnoCodes.has(e.code));
  // What Node would not know has a code of ours.
  return system?.code === 'EGRESS_DENIED' ? 'egress_denied' : (system?.code ?? 'script_error');
}

function payloadOf(error) {
  if (error[ACTION_ERROR] === true) return error.payload;
  if (error instanceof SchemaError) return error.issues;
  if (error.isUpstream === true) {
    const { response, code } = error;
    return response ? { status: response.status, headers: response.headers, data: response.data } : { cause: code };
  }
  if (error instanceof PlatformError) return error.payload;
  return undefined;
}

/** What an upstream told to wait: Retry-After in seconds or as a date. */
function retryAfterMs(error) {
  const told = error.retryAfterMs ?? error.payload?.retryAfterMs;
  if (Number.isFinite(told) && told >= 0) return Math.ceil(told);
  if (error.isUpstream !== true) return undefined;
  const header = error.response?.headers?.['retry-after'];
  if (header === undefined) return undefined;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, Math.ceil(seconds * 1000));
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

function stackOf(error) {
  const causes = [];
  for (let at = error, depth = 0; at instanceof Error && depth < 4; at = at.cause, depth++) {
    causes.push((depth > 0 ? 'caused by ' : '') + String(at.stack));
  }
  return causes.join('\n').slice(0, STACK_LENGTH_MAX);
}

function text(value) {
  return String(value).slice(0, MESSAGE_LENGTH_MAX);
}

function jsonOf(value) {
  const json = JSON.stringify(value);
  if (json === undefined) return null;
  if (json.length <= PAYLOAD_LENGTH_MAX) return JSON.parse(json);
  return { cut: true, start: json.slice(0, 4096) };
}
