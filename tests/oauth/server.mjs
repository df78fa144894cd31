// A real OAuth2 server on loopback, with an API behind it, for tests. Prints its address; ends with its standard input.
//
// What is ours here is only the user, who always says yes: codes, proof keys, tokens and their rotation are
// oidc-provider's. POST /test/… lets a test bring about what a provider's own pages would.
import http from 'node:http';
import { Provider } from 'oidc-provider';

const [redirectUri] = process.argv.slice(2);
const server = http.createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'product',
      client_secret: 'the-secret-of-the-product',
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      redirect_uris: [redirectUri],
      token_endpoint_auth_method: 'client_secret_post',
    },
    {
      client_id: 'machine',
      client_secret: 'the-secret-of-the-machine',
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      token_endpoint_auth_method: 'client_secret_basic',
    },
  ],
  cookies: { keys: ['for tests'] },
  features: { devInteractions: { enabled: false }, clientCredentials: { enabled: true } },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: () => true,
  pkce: { required: () => true },
  // A refresh token counts once: its second use takes the whole grant away.
  rotateRefreshToken: true,
  ttl: { AccessToken: 3600, ClientCredentials: 600, Grant: 86400, Interaction: 600, RefreshToken: 86400, Session: 600 },
});

const counts = { token: 0 };
let broken = false;
const tokens = new Set();
provider.on('access_token.saved', (token) => tokens.add(token));

async function interaction(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (details.prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: 'ada' } });
  }
  const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
  grant.addOIDCScope(details.params.scope ?? 'openid');
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

async function api(request, response) {
  const bearer = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const token = (await provider.AccessToken.find(bearer)) ?? (await provider.ClientCredentials.find(bearer));
  response.writeHead(token ? 200 : 401, { 'content-type': 'application/json' });
  response.end(JSON.stringify(token ? { who: token.accountId ?? token.clientId } : { error: 'invalid_token' }));
}

async function test(request, response) {
  const what = request.url.slice('/test/'.length);
  if (what === 'break') broken = true;
  if (what === 'mend') broken = false;
  // Access tokens end at once, refresh tokens stay.
  if (what === 'forget-access') for (const token of tokens) await token.destroy();
  // The user takes the permission back.
  if (what === 'revoke') for (const token of tokens) await (await provider.Grant.find(token.grantId))?.destroy();
  response.end(JSON.stringify(counts));
}

server.on('request', (request, response) => {
  const fail = (error) => {
    console.error(error);
    response.writeHead(500).end();
  };
  if (request.url.startsWith('/interaction/')) return interaction(request, response).catch(fail);
  if (request.url.startsWith('/api/')) return api(request, response).catch(fail);
  if (request.url.startsWith('/test/')) return test(request, response).catch(fail);
  if (request.url === '/token') {
    counts.token += 1;
    if (broken) return response.writeHead(503).end('<html>down for maintenance</html>');
  }
  return provider.callback()(request, response);
});

console.log(issuer);
process.stdin.resume().on('end', () => process.exit(0));
