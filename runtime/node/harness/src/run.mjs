// One execution in a sandbox: from Start to Result.

import { Kind, MESSAGE_BYTES_MAX } from './protocol/frame.mjs';
import { createContext } from './context/context.mjs';
import { resultError, SchemaError } from './context/errors.mjs';
import { Interrupt } from './context/interrupt.mjs';

/** Bytes of a Result beside its output. */
const RESULT_OVERHEAD_BYTES = 1024;

/**
 * Runs `definition`'s handler and returns how it ended.
 * @param {object} definition what the bundle's default export declares
 * @param {object} start the Start message
 * @param {{link: object, calls: object, logs: object, interrupted: () => never}} io
 */
export async function run(definition, start, { link, calls, logs, interrupted }) {
  const interrupt = new Interrupt(link);
  const nango = createContext({ calls, logs, start, definition, interrupt, interrupted });
  try {
    const handler = handlerOf(definition, start.kind);
    const input = await checked(definition.input, start.input, 'invalid_input');
    link.send(Kind.Started);
    const output = await handler(nango, input);
    if (start.kind === 'action') await checked(definition.output, output, 'invalid_output');
    return completed(output, start.output_bytes);
  } catch (error) {
    return { is: 'failed', error: resultError(error) };
  }
}

/** A sync's `onWebhook` is what runs when the provider's webhook arrives; it is given the body alone. */
function handlerOf(definition, kind) {
  const webhookOfSync = kind === 'webhook' && definition.type === 'sync';
  const name = webhookOfSync ? 'onWebhook' : 'exec';
  const handler = definition[name];
  if (typeof handler !== 'function') throw new TypeError(`The function has no ${name}() for ${kind} executions`);
  if (webhookOfSync) return (nango, delivery) => handler.call(definition, nango, delivery?.body);
  return handler.bind(definition);
}

/** The value as its schema understands it: with defaults and conversions. */
async function checked(schema, value, code) {
  if (typeof schema?.safeParse !== 'function') return value;
  const parse = (schema.safeParseAsync ?? schema.safeParse).bind(schema);
  let parsed = await parse(value);
  // JSON has no undefined: null stands for it where the schema (z.void(), an optional input) does not take null.
  if (!parsed.success && value === null) {
    const absent = await parse(undefined);
    if (absent.success) parsed = absent;
  }
  if (!parsed.success) throw new SchemaError(code, parsed.error.issues);
  return parsed.data;
}

function completed(output, bytesMax) {
  let json;
  try {
    json = JSON.stringify(output ?? null) ?? 'null';
  } catch (error) {
    throw Object.assign(new SchemaError('invalid_output', [{ message: `not JSON: ${error.message}`, path: [] }]), {
      cause: error,
    });
  }
  const bytes = Buffer.byteLength(json);
  const max = Math.min(bytesMax, MESSAGE_BYTES_MAX[Kind.Result] - RESULT_OVERHEAD_BYTES);
  if (bytes > max) {
    const message = `The output has ${bytes} bytes; at most ${max} are allowed. Return less, or save records instead`;
    return { is: 'failed', error: { code: 'output_too_large', message } };
  }
  return { is: 'completed', outputJson: json };
}

/** The payload of the Result message. */
export function resultBytes({ outputJson, ...result }) {
  if (outputJson === undefined) return Buffer.from(JSON.stringify(result));
  return Buffer.from(`{"is":"completed","output":${outputJson}}`);
}
