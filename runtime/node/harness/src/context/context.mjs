// The object that a handler is given: `nango` in existing code. Its members are put together from groups, one file
// each; docs/protocol.md lists the calls behind them.

import { ActionError } from './errors.mjs';
import { connectionMembers } from './connection.mjs';
import { checkpointMembers } from './checkpoint.mjs';
import { executionMembers } from './executions.mjs';
import { logMembers } from './log.mjs';
import { proxyMembers } from './proxy.mjs';
import { paginateMembers } from './paginate.mjs';
import { recordMembers } from './records.mjs';

const PROPERTIES = [
  'connectionId',
  'providerConfigKey',
  'provider',
  'environmentId',
  'environmentName',
  'accountId',
  'activityLogId',
  'syncId',
  'syncJobId',
  'nangoConnectionId',
  'scriptType',
];

/**
 * @param {{
 *   calls: import('../protocol/calls.mjs').Calls,
 *   logs: import('../sandbox/logs.mjs').Logs,
 *   start: object,
 *   definition: object,
 *   interrupt: import('./interrupt.mjs').Interrupt,
 *   interrupted: () => never,
 * }} parts
 */
export function createContext(parts) {
  const { start, interrupt } = parts;
  const values = start.context ?? {};
  const nango = {};
  for (const name of PROPERTIES) nango[name] = values[name];
  Object.assign(nango, {
    variant: values.variant ?? 'base',
    lastSyncDate: values.lastSyncDate ? new Date(values.lastSyncDate) : undefined,
    isCLI: values.isCLI === true,
    ActionError,
    executionId: start.execution,
    attempt: start.attempt,
    deadline: start.deadline,
    signal: interrupt.signal,
    getWebhookURL: async () => values.webhookUrl,
  });
  const groups = [
    logMembers,
    proxyMembers,
    paginateMembers,
    connectionMembers,
    checkpointMembers,
    recordMembers,
    executionMembers,
  ];
  for (const members of groups) Object.assign(nango, members(parts, nango));
  return nango;
}
