// What a client can call: the tenant's actions, each with its own input schema, and a few tools to look around. Pure.

import crypto from 'node:crypto';

/** What clients accept for a name. */
const NAME_LENGTH_MAX = 64;
/** Tools on one page. */
export const PAGE_LENGTH = 100;

const id = { type: 'string', minLength: 1, maxLength: 128, description: 'An execution, such as exe_…' };
const text = (description) => ({ type: 'string', maxLength: 256, description });
const number = (description, maximum) => ({ type: 'integer', minimum: 1, maximum, description });
const object = (properties, required = []) => ({ type: 'object', properties, required, additionalProperties: false });

const LOOKS = { readOnlyHint: true, openWorldHint: false };

/** Tools that every tenant has. `deploy` is there only where there is a project to deploy. */
export const OWN = [
  {
    name: 'list_functions',
    description: 'Lists the functions that are live: actions, syncs, webhook and event handlers, each with what it declares.',
    inputSchema: object({}),
    annotations: LOOKS,
  },
  {
    name: 'list_executions',
    description: 'Lists executions, newest first: what ran, when, how it ended.',
    inputSchema: object({
      function: text('Only of this function: NAME or INTEGRATION/NAME'),
      state: { type: 'string', enum: ['queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'expired'] },
      connection: text('Only of this connection'),
      error: text('Only those that failed with this code'),
      since: text('RFC 3339, or milliseconds since 1970'),
      cursor: text('From the page before'),
      limit: number('At most so many; usually 50', 200),
    }),
    annotations: LOOKS,
  },
  {
    name: 'show_execution',
    description: 'Shows one execution: its attempts, timeline, resource use, and why it ended as it did.',
    inputSchema: object({ id }, ['id']),
    annotations: LOOKS,
  },
  {
    name: 'read_logs',
    description: 'Reads the log of an execution, a page at a time.',
    inputSchema: object({ id, after: { type: 'integer', minimum: 0, description: 'The last seq that was seen' }, limit: number('At most so many lines; usually 200', 1_000) }, ['id']),
    annotations: LOOKS,
  },
];

export const DEPLOY = {
  name: 'deploy',
  description: 'Compiles the project that this server was started for, and makes its functions live. With dry_run it only says what would change.',
  inputSchema: object({
    dry_run: { type: 'boolean', description: 'Only say what would change' },
    allow_destructive: { type: 'boolean', description: 'Remove live functions that the project does not have' },
    functions: { type: 'array', items: text('INTEGRATION/KIND/NAME'), maxItems: 100, description: 'Only these; all without it' },
  }),
  annotations: { readOnlyHint: false, destructiveHint: true, openWorldHint: false },
};

/**
 * One tool for each action.
 * @param {Array<{integration: string, kind: string, name: string, spec: object}>} functions
 * @returns {Array<{tool: object, action: {integration: string, name: string}}>} in an order that stays
 */
export function actionTools(functions) {
  const actions = functions.filter(({ kind }) => kind === 'action').map(({ integration, name, spec }) => ({ integration, name, spec }));
  actions.sort((a, b) => (`${a.integration}/${a.name}` < `${b.integration}/${b.name}` ? -1 : 1));
  const plain = actions.map(nameOf);
  return actions.map(({ integration, name, spec }, place) => ({
    action: { integration, name },
    tool: {
      name: plain.filter((other) => other === plain[place]).length > 1 ? told(plain[place], integration, name) : plain[place],
      title: `${integration}/${name}`,
      description: spec?.description || `Runs the action ${integration}/${name}.`,
      inputSchema: schemaOf(spec?.input_schema),
      annotations: { readOnlyHint: false, openWorldHint: true },
    },
  }));
}

function nameOf({ integration, name }) {
  const plain = `run_${integration}_${name}`.replace(/[^A-Za-z0-9_-]/g, '-');
  return plain.length > NAME_LENGTH_MAX ? told(plain, integration, name) : plain;
}

/** A name that no other action has. */
function told(plain, integration, name) {
  const digest = crypto.createHash('sha256').update(`${integration}/${name}`).digest('hex').slice(0, 8);
  return `${plain.slice(0, NAME_LENGTH_MAX - 9)}_${digest}`;
}

/**
 * The arguments of an action's tool: its input, and on behalf of which connection. What the input's schema refers to
 * within itself moves along: `#/$defs` to the root's, `#` to where the input is now.
 */
export function schemaOf(input) {
  const { $schema: _, $defs, definitions, ...own } = structuredClone(input ?? {});
  return {
    type: 'object',
    properties: {
      connection_id: text('On behalf of which connection; some actions need none'),
      input: moved(own),
    },
    required: ['input'],
    additionalProperties: false,
    ...($defs === undefined ? {} : { $defs: moved($defs) }),
    ...(definitions === undefined ? {} : { definitions: moved(definitions) }),
  };
}

function moved(schema) {
  if (Array.isArray(schema)) return schema.map(moved);
  if (schema === null || typeof schema !== 'object') return schema;
  const entries = Object.entries(schema).map(([key, value]) => {
    if (key !== '$ref' || typeof value !== 'string' || !/^#(\/|$)/.test(value)) return [key, moved(value)];
    return [key, /^#\/(\$defs|definitions)\//.test(value) ? value : `#/properties/input${value.slice(1)}`];
  });
  return Object.fromEntries(entries);
}
