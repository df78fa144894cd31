// Other executions, locks, and fetch past the proxy.

const REDIRECTS_MAX = 5;
const CREDENTIAL_HEADERS = ['authorization', 'cookie', 'proxy-authorization'];

export function executionMembers({ calls }, nango) {
  return {
    triggerAction: (providerConfigKey, connectionId, action, input) =>
      calls.call('action.trigger', { providerConfigKey, connectionId, action, input: input ?? null }),
    triggerSync: async (providerConfigKey, connectionId, sync) => {
      await calls.call('sync.trigger', { providerConfigKey, connectionId, sync: nameOf(sync) });
    },
    startSync: async (providerConfigKey, syncs, connectionId) => {
      const params = { providerConfigKey, connectionId: connectionId ?? nango.connectionId, syncs: syncs.map(nameOf) };
      await calls.call('sync.start', params);
    },
    tryAcquireLock: async ({ key, ttlMs }) => (await calls.call('lock.acquire', { key, ttlMs })).acquired,
    releaseLock: async ({ key }) => (await calls.call('lock.release', { key })).released,
    releaseAllLocks: async () => {
      await calls.call('lock.releaseAll');
    },
    uncontrolledFetch,
  };
}

function nameOf(sync) {
  return typeof sync === 'string' ? sync : sync.name;
}

/** fetch through egress. Credentials of the request are not taken along to another origin. */
async function uncontrolledFetch({ url, method = 'GET', headers, body }) {
  let at = new URL(url);
  let request = { method, headers: new Headers(headers), body };
  for (let hops = 0; ; hops++) {
    const response = await fetch(at, { ...request, redirect: 'manual' });
    const location = response.headers.get('location');
    if (response.status < 300 || response.status > 399 || location === null) return response;
    if (hops === REDIRECTS_MAX) throw new Error(`${url} redirects more than ${REDIRECTS_MAX} times`);
    const next = new URL(location, at);
    request = redirected(request, response.status, next.origin !== at.origin);
    at = next;
  }
}

function redirected({ method, headers, body }, status, elsewhere) {
  const kept = new Headers(headers);
  if (elsewhere) for (const name of CREDENTIAL_HEADERS) kept.delete(name);
  const becomesGet = status === 303 ? method !== 'HEAD' : (status === 301 || status === 302) && method === 'POST';
  if (!becomesGet) return { method, headers: kept, body };
  for (const name of ['content-type', 'content-length']) kept.delete(name);
  return { method: 'GET', headers: kept, body: undefined };
}
