exports.attack = async (t, { allowed, forbidden, native }, bulkhead) => {
  const api = `http://127.0.0.1:${allowed}`;
  await t.needs('the API that is allowed', async () => (await fetch(`${api}/`)).text());
  const inside = `http://127.0.0.1:${forbidden}/`;
  await t.try('fetch follows to loopback', async () => (await fetch(`${api}/hop/${inside}`)).text());
  await t.try('follow to a file', async () => (await fetch(`${api}/hop/file:///etc/passwd`)).text());
  await t.try('follow to gopher', async () => (await fetch(`${api}/hop/gopher://127.0.0.1:${forbidden}/`)).text());
  if (native) return;
  await t.try('the proxy follows to loopback', async () => (await bulkhead.get({ endpoint: `/hop/${inside}` })).data);
  await t.try('the proxy follows to metadata', async () => (await bulkhead.get({ endpoint: '/hop/http://169.254.169.254/' })).data);
  await t.try('the proxy goes round for ever', async () => (await bulkhead.get({ endpoint: '/hops/100' })).data);
  await t.try('fetch goes round for ever', async () => (await fetch(`${api}/hops/100`)).text());
  await t.try('the proxy takes loopback as base', async () => (await bulkhead.get({ endpoint: '/', baseUrlOverride: inside })).data);
};
