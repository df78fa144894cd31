// The connection, its integration, its metadata, and the tenant's variables.

const MEMO_MS = 60_000;

/** Keeps an answer for MEMO_MS. Failures are not kept. */
function memo(now) {
  const kept = new Map();
  return {
    clear: () => kept.clear(),
    get(key, ask) {
      const found = kept.get(key);
      if (found !== undefined && now() - found.at < MEMO_MS) return found.answer;
      const answer = ask();
      kept.set(key, { at: now(), answer });
      answer.catch(() => kept.delete(key));
      return answer;
    },
  };
}

/** The credential that goes into requests, by what the connection has. */
function tokenOf(credentials) {
  const { type } = credentials ?? {};
  if (type === 'OAUTH1') return { oAuthToken: credentials.oauth_token, oAuthTokenSecret: credentials.oauth_token_secret };
  if (type === 'BASIC') return { username: credentials.username, password: credentials.password };
  if (type === 'API_KEY') return { apiKey: credentials.apiKey ?? credentials.api_key };
  return credentials?.access_token ?? credentials?.token ?? credentials;
}

export function connectionMembers({ calls, definition }, nango) {
  const connections = memo(Date.now);
  const integrations = memo(Date.now);
  const getConnection = (providerConfigKey, connectionId) => {
    const params = {
      providerConfigKey: providerConfigKey ?? nango.providerConfigKey,
      connectionId: connectionId ?? nango.connectionId,
    };
    return connections.get(JSON.stringify(params), () => calls.call('connection.get', params));
  };
  const changeMetadata = async (method, metadata) => {
    connections.clear();
    return calls.call(method, { metadata });
  };
  const getMetadata = () => calls.call('metadata.get');
  const updateMetadata = (metadata) => changeMetadata('metadata.update', metadata);
  return {
    getConnection,
    getToken: async () => tokenOf((await getConnection()).credentials),
    getIntegration: () => integrations.get('', () => calls.call('integration.get')),
    getMetadata,
    setMetadata: (metadata) => changeMetadata('metadata.set', metadata),
    updateMetadata,
    getEnvironmentVariables: () => calls.call('variables.list'),
    // Older names that functions in the wild still call.
    getFieldMapping: async () => (await getMetadata())?.fieldMapping ?? {},
    setFieldMapping: (fieldMapping) => updateMetadata({ fieldMapping }),
    getFlowAttributes: () => definition.attributes ?? null,
  };
}
