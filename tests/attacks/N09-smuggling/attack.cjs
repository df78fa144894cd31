exports.attack = async (t, { allowed }, bulkhead) => {
  await t.needs('the API through the proxy', async () => text(await bulkhead.get({ endpoint: '/plain', responseType: 'text' })));
  const injected = async (config) => {
    const seen = text(await bulkhead.proxy({ responseType: 'text', retries: 0, ...config }));
    if (/^x-evil:/im.test(seen)) return 'a header was injected';
    if ((seen.match(/HTTP\/1\.1\r?$/gm) ?? []).length > 1) return 'a second request was injected';
    throw new Error('as one plain request');
  };
  await t.try('a line break in the path', () => injected({ endpoint: '/a HTTP/1.1\r\nx-evil: 1\r\n\r\nGET /b' }));
  await t.try('an encoded line break', () => injected({ endpoint: '/a%0d%0ax-evil:%201' }));
  await t.try('a line break in a header', () => injected({ endpoint: '/a', headers: { 'x-a': 'b\r\nx-evil: 1' } }));
  await t.try("a line break in a header's name", () => injected({ endpoint: '/a', headers: { 'x-a: b\r\nx-evil': '1' } }));
  await t.try('a line break in a parameter', () => injected({ endpoint: '/a', params: { q: 'b\r\nx-evil: 1' } }));
  await t.try('a line break in the method', () => injected({ endpoint: '/a', method: 'GET /x HTTP/1.1\r\nx-evil: 1\r\n\r\nGET' }));
  await t.try('two lengths', async () => {
    const seen = text(await bulkhead.post({ endpoint: '/a', data: 'abc', responseType: 'text', headers: { 'content-length': '0', 'transfer-encoding': 'chunked' } }));
    const lengths = seen.match(/^(content-length|transfer-encoding):/gim) ?? [];
    if (lengths.length > 1) return lengths.join(' ');
    throw new Error('one length');
  });
  await t.try('another host', async () => {
    const seen = text(await bulkhead.get({ endpoint: '/a', responseType: 'text', headers: { host: 'evil.example' } }));
    if (/^host: evil/im.test(seen)) return 'sent with another host';
    throw new Error('its own host');
  });
  await t.try('credentials to another host', async () => {
    const seen = text(await bulkhead.get({ endpoint: '/a', responseType: 'text', baseUrlOverride: `http://localhost:${allowed}` }));
    if (/^authorization:/im.test(seen)) return 'they went there';
    throw new Error('without credentials');
  });
  await t.try('credentials after a redirect', async () => {
    const seen = text(await bulkhead.get({ endpoint: `/hop/http://localhost:${allowed}/there`, responseType: 'text' }));
    if (/^authorization:/im.test(seen)) return 'they went along';
    throw new Error('without credentials');
  });
};

const text = (answer) => (typeof answer.data === 'string' ? answer.data : JSON.stringify(answer.data));
