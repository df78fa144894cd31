// One client's view: which tools there are for its key, and what calling one does. Everything goes through the HTTP API
// with that key, so a client can do what its tenant can, and nothing else.

import { execFile } from 'node:child_process';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import { CallToolRequestSchema, ErrorCode, ListToolsRequestSchema, McpError } from '@modelcontextprotocol/sdk/types.js';
import { ApiError, api } from './api.mjs';
import { DEPLOY, OWN, PAGE_LENGTH, actionTools } from './tools.mjs';

/** Characters of one result: what a model is given has to fit. */
const RESULT_LENGTH_MAX = 1 << 20;
/** Calls of one client at the same time. */
const CALLS_MAX = 16;
/** Compiling, and making live. */
const DEPLOY_MS_MAX = 10 * 60_000;
const DEPLOY_BYTES_MAX = 4 << 20;

const INSTRUCTIONS =
  "Runs a tenant's actions on Bulkhead and shows what ran. Tools named run_… are actions; their `input` is the action's own. " +
  'After a failure, show_execution and read_logs tell why.';

/**
 * @param {{server: string, key: string, project?: string, bulkhead?: string, version: string}} settings
 * @returns {Server} to be connected to a transport
 */
export function serverFor(settings) {
  const asked = api(settings.server, settings.key);
  const own = settings.project === undefined ? OWN : [...OWN, DEPLOY];
  const server = new Server(
    { name: 'bulkhead', version: settings.version },
    { capabilities: { tools: {} }, instructions: INSTRUCTIONS },
  );
  let running = 0;

  server.setRequestHandler(ListToolsRequestSchema, async ({ params }) => {
    const actions = actionTools((await orRefused(asked.functions())).functions);
    const tools = [...own, ...actions.map(({ tool }) => tool)];
    const from = placeOf(params?.cursor);
    const page = tools.slice(from, from + PAGE_LENGTH);
    return from + PAGE_LENGTH < tools.length ? { tools: page, nextCursor: String(from + PAGE_LENGTH) } : { tools: page };
  });

  server.setRequestHandler(CallToolRequestSchema, async ({ params }, { signal }) => {
    if (running >= CALLS_MAX) return failed({ code: 'too_many_calls', message: `At most ${CALLS_MAX} calls run at the same time; try again` });
    running += 1;
    try {
      return succeeded(await called(asked, own, settings, params, signal));
    } catch (error) {
      if (error instanceof ApiError) return failed(error.detail);
      throw error;
    } finally {
      running -= 1;
    }
  });
  return server;
}

async function called(asked, own, settings, { name, arguments: given = {} }, signal) {
  if (own.some((tool) => tool.name === name)) {
    const tool = own.find((one) => one.name === name);
    checkArguments(tool, given);
    const { id, ...query } = given;
    if (name === 'list_functions') return asked.functions();
    if (name === 'list_executions') return asked.executions(query);
    if (name === 'show_execution') return asked.execution(id);
    if (name === 'read_logs') return asked.logs(id, query);
    return deployed(settings, given, signal);
  }
  const { functions } = await asked.functions();
  const found = actionTools(functions).find(({ tool }) => tool.name === name);
  if (found === undefined) throw new McpError(ErrorCode.InvalidParams, `There is no tool ${String(name).slice(0, 80)}`);
  checkArguments(found.tool, given);
  // The input itself is checked where it is run, against the same schema.
  return asked.run(found.action, given.connection_id, given.input, signal);
}

/** The names and kinds of a tool's own arguments. */
function checkArguments({ inputSchema }, given) {
  const wrong = (what) => new McpError(ErrorCode.InvalidParams, what);
  for (const name of inputSchema.required) if (given[name] === undefined) throw wrong(`${name} is missing`);
  for (const [name, value] of Object.entries(given)) {
    const said = inputSchema.properties[name];
    if (said === undefined) throw wrong(`There is no argument ${name.slice(0, 80)}; there are ${Object.keys(inputSchema.properties).join(', ')}`);
    if (name === 'input') continue;
    const kind = Array.isArray(value) ? 'array' : Number.isInteger(value) ? 'integer' : typeof value;
    if (kind !== said.type) throw wrong(`${name} has to be of type ${said.type}`);
    if (kind === 'string' && value.length > (said.maxLength ?? 256)) throw wrong(`${name} is too long`);
    if (kind === 'array' && !(value.length <= said.maxItems && value.every((item) => typeof item === 'string'))) throw wrong(`${name} has to be a list of names`);
  }
}

/** Runs `bulkhead deploy`, which compiles beside us and knows how; the key goes by the environment. */
function deployed({ bulkhead, project, server, key, set = [] }, { dry_run: dry, allow_destructive: destructive, functions = [] }, signal) {
  const settings = [...set, `server=${server}`].flatMap((said) => ['--set', said]);
  const args = ['--json', ...settings, 'deploy', project, '--yes'];
  if (dry) args.push('--dry-run');
  if (destructive) args.push('--allow-destructive');
  for (const name of functions) args.push(`--function=${name}`);
  const options = { timeout: DEPLOY_MS_MAX, maxBuffer: DEPLOY_BYTES_MAX, signal, env: { ...process.env, BULKHEAD_KEY: key } };
  return new Promise((done, refuse) => {
    execFile(bulkhead, args, options, (error, stdout, stderr) => {
      if (!error) return done(JSON.parse(stdout));
      return refuse(new ApiError({ code: 'not_deployed', message: (stderr.trim() || error.message).slice(-8_000) }));
    });
  });
}

/** What the API refuses is no tool's failure here: there is no tool yet. */
async function orRefused(answer) {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    throw new McpError(ErrorCode.InvalidRequest, `${error.message} [${error.detail.code}]`);
  }
}

function placeOf(cursor) {
  if (cursor === undefined) return 0;
  if (/^\d{1,6}$/.test(cursor)) return Number(cursor);
  throw new McpError(ErrorCode.InvalidParams, 'This is no cursor of tools');
}

function succeeded(value) {
  const whole = JSON.stringify(value ?? null);
  if (whole.length > RESULT_LENGTH_MAX) {
    return failed({ code: 'result_too_large', message: `The result has ${whole.length} characters; ${RESULT_LENGTH_MAX} is the most that is given to a client` });
  }
  const structured = value !== null && typeof value === 'object' && !Array.isArray(value) ? { structuredContent: value } : {};
  return { content: [{ type: 'text', text: whole }], ...structured };
}

/** A failure that a model can read and act on. */
function failed({ code, message, payload, ...more }) {
  const told = { code, message, ...(payload === undefined ? {} : { payload }), ...more };
  return { content: [{ type: 'text', text: JSON.stringify({ error: told }).slice(0, RESULT_LENGTH_MAX) }], isError: true };
}
