// Loads one function's file and writes down what it declares, as JSON. Waits to be told {bundle, answer}: two files.
// Ends when whoever started it does.
'use strict';

const fs = require('node:fs');

const SCHEMAS = ['input', 'output', 'checkpoint', 'metadata'];
const PLAIN = [
  'type',
  'description',
  'version',
  'frequency',
  'cron',
  'autoStart',
  'event',
  'webhookSubscriptions',
  'limits',
  'retry',
  'concurrency',
  'schedule',
  'egress',
  'isolation',
  'wall',
];

/** Dates reach the platform as ISO text; what has no JSON Schema is anything. */
const OPTIONS = {
  target: 'draft-2020-12',
  unrepresentable: 'any',
  override({ zodSchema, jsonSchema }) {
    if (zodSchema._zod.def.type === 'date') Object.assign(jsonSchema, { type: 'string', format: 'date-time' });
  },
};

class Unreadable extends Error {}

function jsonSchema(zod, schema, what) {
  if (schema?._zod === undefined) {
    throw new Unreadable(`${what} is no schema of zod 4; import { z } from 'zod', version 4`);
  }
  // What a caller sends is the input side of a schema; what is stored or returned is the output side.
  const io = what === 'input' ? 'input' : 'output';
  return zod.toJSONSchema(schema, { ...OPTIONS, io });
}

function read({ declaration, zod }) {
  const plain = Object.fromEntries(PLAIN.filter((name) => declaration?.[name] !== undefined).map((name) => [name, declaration[name]]));
  const schemas = {};
  for (const name of SCHEMAS) {
    if (declaration?.[name] !== undefined) schemas[name] = jsonSchema(zod, declaration[name], name);
  }
  const models = {};
  for (const [name, schema] of Object.entries(declaration?.models ?? {})) models[name] = jsonSchema(zod, schema, `models.${name}`);
  const handlers = ['exec', 'onWebhook'].filter((name) => typeof declaration?.[name] === 'function');
  const fields = declaration !== null && typeof declaration === 'object' ? Object.keys(declaration) : [];
  return { ...plain, schemas, models, handlers, fields };
}

process.once('message', ({ bundle, answer }) => {
  let result;
  try {
    result = { declaration: read(require(bundle)) };
  } catch (error) {
    const todo = 'Correct what the file does when it is loaded';
    const [line] = String(error?.message ?? error).split('\n');
    const message = error instanceof Unreadable ? line : `The file does not load: ${line}`;
    result = { error: { code: error instanceof Unreadable ? 'bad_schema' : 'does_not_load', message, todo } };
  }
  fs.writeFileSync(answer, JSON.stringify(result));
  process.exit(0);
});
process.once('disconnect', () => process.exit(0));
