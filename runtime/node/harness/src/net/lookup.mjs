// dns.lookup and dns.resolve4/6 in a sandbox, of the module and of its Resolver: the platform answers. Other record types
// have no way out.

import dns from 'node:dns';
import net from 'node:net';
import { promisify } from 'node:util';
import { PlatformError } from '../protocol/calls.mjs';
import { deniedError, lookupError } from './errors.mjs';

let calls = null;

/** @param {import('../protocol/calls.mjs').Calls} by which names are looked up; before that there is no network */
export function lookupBy(by) {
  calls = by;
}

const FAMILIES = { IPv4: 4, IPv6: 6 };

/** @returns {Promise<Array<{address: string, family: number}>>} never empty */
export async function addresses(hostname, family) {
  const literal = net.isIP(hostname);
  if (literal !== 0) return [{ address: hostname, family: literal }];
  if (calls === null) throw lookupError('EAI_AGAIN', hostname);
  try {
    const found = await calls.call('dns.lookup', { host: hostname, family });
    if (found.length > 0) return found;
  } catch (error) {
    if (!(error instanceof PlatformError)) throw error;
    if (error.code === 'egress_denied') {
      throw deniedError(error.message, error.payload?.rule, 'getaddrinfo', { hostname });
    }
    throw lookupError(error.code === 'ENOTFOUND' ? 'ENOTFOUND' : 'EAI_AGAIN', hostname);
  }
  throw lookupError('ENOTFOUND', hostname);
}

function familyOf(options) {
  const family = typeof options === 'number' ? options : (options?.family ?? 0);
  return FAMILIES[family] ?? family;
}

async function lookup(hostname, options) {
  if (!hostname) return options?.all ? [] : { address: null, family: familyOf(options) === 6 ? 6 : 4 };
  const found = await addresses(hostname, familyOf(options));
  return options?.all ? found : found[0];
}

function lookupWithCallback(hostname, options, callback) {
  const done = typeof options === 'function' ? options : callback;
  const asked = typeof options === 'function' ? {} : typeof options === 'number' ? { family: options } : options;
  lookup(hostname, asked).then(
    // Out of the promise, so that what the callback throws is not taken for a failed lookup.
    (found) => process.nextTick(() => (asked?.all ? done(null, found) : done(null, found.address, found.family))),
    (error) => process.nextTick(done, error),
  );
}

async function resolve(hostname, family, options) {
  const found = await addresses(hostname, family);
  return found.map(({ address }) => (options?.ttl ? { address, ttl: 0 } : address));
}

const resolveWithCallback = (family) => (hostname, options, callback) => {
  const done = typeof options === 'function' ? options : callback;
  resolve(hostname, family, typeof options === 'function' ? {} : options).then(
    (found) => process.nextTick(done, null, found),
    (error) => process.nextTick(done, error),
  );
};

export function patchLookups() {
  // As with Node's own: promisified, it yields an object and not only the address.
  lookupWithCallback[promisify.custom] = lookup;
  const promised = {
    lookup,
    resolve4: (hostname, options) => resolve(hostname, 4, options),
    resolve6: (hostname, options) => resolve(hostname, 6, options),
  };
  const called = { lookup: lookupWithCallback, resolve4: resolveWithCallback(4), resolve6: resolveWithCallback(6) };
  patchAll(dns.promises, promised, (native, ways) => (hostname, type = 'A') => {
    return ways[type] === undefined ? native(hostname, type) : ways[type](hostname);
  });
  patchAll(dns, called, (native, ways) => (hostname, type, done) => {
    if (typeof type === 'function') return ways.A(hostname, type);
    return ways[type] === undefined ? native(hostname, type, done) : ways[type](hostname, done);
  });
}

/** Patches a module and its class of resolvers; `byType` makes the `resolve` that takes a record's type. */
function patchAll(module, { lookup: look, resolve4, resolve6 }, byType) {
  const ways = { A: resolve4, AAAA: resolve6 };
  Object.assign(module.Resolver.prototype, { resolve4, resolve6 });
  const native = module.Resolver.prototype.resolve;
  module.Resolver.prototype.resolve = function resolve(...args) {
    return byType(native.bind(this), ways)(...args);
  };
  Object.assign(module, { lookup: look, resolve4, resolve6, resolve: byType(module.resolve, ways) });
}
