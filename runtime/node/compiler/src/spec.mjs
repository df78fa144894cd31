// From what an author declared to the FunctionSpec of crates/types. Pure.

import { frequencyError } from './frequency.mjs';

/** Limit → whether null (no limit) is allowed. The names are those of crates/types/src/limits.rs. */
const LIMITS = {
  time_ms: false,
  soft_percent: false,
  cpu_ms: true,
  memory_mib: false,
  processes: false,
  scratch_mib: false,
  scratch_inodes: false,
  input_bytes: false,
  output_bytes: false,
  log_bytes: false,
  log_lines: false,
  connections: false,
  connections_per_minute: false,
  lookups_per_minute: false,
  egress_mib: false,
  cpu_units: false,
  memory_reserved_mib: false,
};
const RETRY = { max: 'number', backoff_ms: 'number', backoff_ms_max: 'number', jitter: 'boolean' };
const EVENTS = ['post-connection-creation', 'pre-connection-deletion', 'validate-connection'];
const IGNORED = ['endpoint', 'endpoints', 'scopes', 'group', 'syncType', 'trackDeletes', 'integrationId', 'version', 'track_deletes'];
const KNOWN = new Set([
  'type', 'description', 'frequency', 'cron', 'autoStart', 'event', 'webhookSubscriptions', 'limits', 'retry',
  'concurrency', 'schedule', 'egress',
  'isolation', 'wall', 'input', 'output', 'checkpoint', 'metadata', 'models', 'exec', 'onWebhook',
]);
const CREATORS = { action: 'createAction', sync: 'createSync', webhook: 'createWebhook', event: 'createOnEvent' };

/**
 * @param {{integration: string, kind: string, name: string, key: string, relative: string}} fn
 * @param {object} declared by inspect-child.cjs
 * @param {{secrets: boolean, outbound: boolean}} uses
 * @returns {{spec: object, problems: import('./errors.mjs').Finding[], remarks: string[]}}
 */
export function specOf(fn, declared, uses) {
  const problems = [];
  const problem = (code, message, todo) => problems.push({ code, file: fn.relative, line: 1, message, todo });
  checkKind(fn, declared, problem);
  checkLimits(declared.limits ?? {}, problem);
  checkRetry(declared.retry ?? {}, problem);
  checkConcurrency(declared.concurrency, problem);
  checkSchedule(fn, declared.schedule, problem);
  checkEgress(declared.egress, problem);
  const frequency = frequencyOf(fn, declared, problem);
  const { input, output, checkpoint } = declared.schemas;
  if (checkpoint !== undefined) checkCheckpoint(checkpoint, problem);
  const spec = {
    integration: fn.integration,
    kind: fn.kind,
    name: fn.name,
    description: declared.description ?? '',
    frequency,
    schedule: declared.schedule,
    concurrency: declared.concurrency,
    auto_start: fn.kind === 'sync' && declared.autoStart !== false,
    event: fn.kind === 'event' ? declared.event : undefined,
    webhook_subscriptions: declared.webhookSubscriptions ?? [],
    models: declared.models,
    input_schema: input,
    output_schema: output,
    checkpoint_schema: checkpoint,
    limits: declared.limits ?? {},
    retry: declared.retry ?? {},
    uses,
    egress: declared.egress,
    isolation: declared.isolation ?? 'fork',
    wall: declared.wall,
  };
  return { spec, problems, remarks: remarksOf(fn, declared) };
}

function checkKind(fn, { type, handlers, event, isolation, wall }, problem) {
  const creator = CREATORS[fn.kind];
  if (!Object.hasOwn(CREATORS, type)) {
    problem('no_function', 'The default export declares no function', `Write: export default ${creator}({ … })`);
  } else if (type !== fn.kind) {
    problem('wrong_kind', `The file lies among functions of kind ${fn.kind} but declares a function of kind ${type}`, `Use ${creator}, or move the file`);
  } else if (!handlers.includes('exec')) {
    problem('no_handler', 'The function has no exec', `Give ${creator} an exec: async (bulkhead) => { … }`);
  }
  if (fn.kind === 'event' && !EVENTS.includes(event)) {
    problem('bad_event', `${event ?? 'No event'} is no event to wait for`, `Set event to one of ${EVENTS.join(', ')}`);
  }
  if (wall !== undefined && !['process', 'gvisor', 'microvm'].includes(wall)) {
    problem('bad_wall', `${wall} is no wall`, `Set wall to 'process', 'gvisor' or 'microvm', or leave it out`);
  }
  if (isolation !== undefined && !['fork', 'compartment'].includes(isolation)) {
    problem('bad_isolation', `${isolation} is no isolation`, `Set isolation to 'fork' or 'compartment'`);
  }
}

function checkLimits(limits, problem) {
  for (const [name, value] of Object.entries(limits)) {
    if (!Object.hasOwn(LIMITS, name)) {
      problem('unknown_limit', `There is no limit ${name}`, `Limits are ${Object.keys(LIMITS).join(', ')}`);
    } else if (!(value === null && LIMITS[name]) && !(Number.isSafeInteger(value) && value >= 1)) {
      problem('bad_limit', `The limit ${name} is ${JSON.stringify(value)}`, 'Write a whole number, at least 1');
    } else if (name === 'soft_percent' && value > 100) {
      problem('bad_limit', `The limit soft_percent is ${value}`, 'Write a share between 1 and 100');
    }
  }
}

function checkRetry(retry, problem) {
  for (const [name, value] of Object.entries(retry)) {
    const wanted = RETRY[name];
    if (wanted === undefined) {
      problem('unknown_retry', `There is no retry setting ${name}`, `Settings are ${Object.keys(RETRY).join(', ')}`);
    } else if (typeof value !== wanted || (wanted === 'number' && !(Number.isSafeInteger(value) && value >= 0))) {
      const todo = wanted === 'number' ? 'Write a whole number, at least 0' : 'Write true or false';
      problem('bad_retry', `The retry setting ${name} is ${JSON.stringify(value)}`, todo);
    }
  }
}

/** As Concurrency of crates/types/src/function.rs. */
function checkConcurrency(concurrency, problem) {
  if (concurrency === undefined) return;
  const atLeastOne = (value) => Number.isSafeInteger(value) && value >= 1 && value < 2 ** 32;
  const { max, key, ...rest } = concurrency ?? {};
  const { name, max: keyMax, ...keyRest } = key ?? { name: 'x', max: 1 };
  const named = typeof name === 'string' && name.length > 0 && Buffer.byteLength(name) <= 255;
  const right = (max === undefined || atLeastOne(max)) && named && atLeastOne(keyMax);
  if (!right || Object.keys(rest).length > 0 || Object.keys(keyRest).length > 0) {
    const todo = "Write concurrency: { max: 5 }, or { key: { name: 'account', max: 2 } }, with numbers of at least 1";
    problem('bad_concurrency', `The concurrency ${JSON.stringify(concurrency)} can't be read`, todo);
  }
}

/** As ScheduleOptions of crates/types/src/function.rs. */
function checkSchedule(fn, schedule, problem) {
  if (schedule === undefined) return;
  const { jitter_ms: jitter = 0, missed = 'skip', ...rest } = schedule ?? {};
  const right = Number.isSafeInteger(jitter) && jitter >= 0 && jitter <= 86_400_000 && ['skip', 'catch_up'].includes(missed);
  if (fn.kind !== 'sync' || !right || Object.keys(rest).length > 0) {
    const todo = "Write schedule: { jitter_ms: 60_000, missed: 'skip' } in a sync; missed is 'catch_up' or 'skip', the jitter at most a day";
    problem('bad_schedule', `The schedule ${JSON.stringify(schedule)} can't be read`, todo);
  }
}

/** As EgressRule of crates/types/src/function.rs; what hosts, networks and ports mean is the server's to say. */
function checkEgress(egress, problem) {
  if (egress === undefined) return;
  const texts = (list) => list === undefined || (Array.isArray(list) && list.every((text) => typeof text === 'string'));
  const right = ({ name, effect, hosts, networks, ports, ...rest }) =>
    typeof name === 'string' && ['allow', 'deny'].includes(effect) && [hosts, networks, ports].every(texts) && Object.keys(rest).length === 0;
  if (!Array.isArray(egress) || !egress.every((rule) => rule !== null && typeof rule === 'object' && right(rule))) {
    const todo = "Write egress: [{ name: 'api', effect: 'allow', hosts: ['*.example.com'], ports: ['443'] }]; effect is 'allow' or 'deny', networks are CIDRs";
    problem('bad_egress', `The egress ${JSON.stringify(egress)} can't be read`, todo);
  }
}

function frequencyOf(fn, { frequency, cron }, problem) {
  if (fn.kind !== 'sync' || (frequency === undefined && cron === undefined)) return undefined;
  if (frequency !== undefined && cron !== undefined) {
    problem('bad_frequency', 'The sync has both a frequency and a cron', 'Keep one of them');
    return undefined;
  }
  const text = cron === undefined ? frequency : `cron: ${cron}`;
  const error = frequencyError(text);
  if (error !== null) problem('bad_frequency', error, "Write every 5m, every half hour, every day, or cron: '0 6 * * 1-5 Europe/Paris'");
  return text;
}

/** Checkpoints are flat: what is in them must be plain. */
function checkCheckpoint(schema, problem) {
  if (schema.type !== 'object') {
    problem('bad_checkpoint', 'The checkpoint is no object', 'Write checkpoint: z.object({ page: z.number() })');
    return;
  }
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    if (field.type === 'object' || field.type === 'array') {
      problem('bad_checkpoint', `The checkpoint's field ${name} is an ${field.type}`, 'A checkpoint is flat: strings, numbers, booleans, dates');
    }
  }
}

function remarksOf(fn, { fields }) {
  return fields
    .filter((name) => !KNOWN.has(name) || IGNORED.includes(name))
    .filter((name) => name !== 'version')
    .map((name) => `${fn.relative}: ${name} is ${IGNORED.includes(name) ? 'not needed' : 'not known'} and ignored`);
}
