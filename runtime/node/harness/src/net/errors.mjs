// Errors of connections and lookups, shaped as Node's own are: packages look at `code` and `syscall`.

import os from 'node:os';

/** Names such as ECONNREFUSED, ENOSPC, and those of lookups. */
export const errnoCodes = new Set([
  ...Object.keys(os.constants.errno),
  'ENOTFOUND',
  'EAI_AGAIN',
  'EGRESS_DENIED',
]);

const LOOKUP_ERRNOS = { ENOTFOUND: -3008, EAI_AGAIN: -3001 };

/**
 * A refused connection.
 * @param {{code: string, message: string, rule?: string}} refused
 * @param {string} host @param {number} port
 */
export function connectError({ code, message, rule }, host, port) {
  if (code in LOOKUP_ERRNOS) return lookupError(code, host);
  if (code === 'egress_denied') return deniedError(message, rule, 'connect', { address: host, port });
  const error = new Error(`connect ${code} ${host}:${port}`);
  return Object.assign(error, { errno: errno(code), code, syscall: 'connect', address: host, port });
}

/** A name that was not resolved. */
export function lookupError(code, hostname) {
  const error = new Error(`getaddrinfo ${code} ${hostname}`);
  return Object.assign(error, { errno: LOOKUP_ERRNOS[code] ?? errno(code), code, syscall: 'getaddrinfo', hostname });
}

/** What the egress policy does not allow. */
export function deniedError(message, rule, syscall, more) {
  const named = rule === undefined ? '' : ` (rule ${rule})`;
  const error = new Error(`${syscall} EGRESS_DENIED ${more.address ?? more.hostname}${named}: ${message}`);
  return Object.assign(error, { code: 'EGRESS_DENIED', syscall, rule, ...more });
}

/** A connection that broke off. */
export function resetError() {
  const error = new Error('read ECONNRESET');
  return Object.assign(error, { errno: errno('ECONNRESET'), code: 'ECONNRESET', syscall: 'read' });
}

function errno(code) {
  return -(os.constants.errno[code] ?? 0);
}
