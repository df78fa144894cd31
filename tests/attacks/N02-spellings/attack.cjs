const HOSTS = ['2852039166', '0xA9FEA9FE', '0251.0376.0251.0376', '169.254.43518', '169.16689662', '0xa9.0xfe.0xa9.0xfe', '::ffff:169.254.169.254',
  '::ffff:a9fe:a9fe', '::169.254.169.254', '64:ff9b::a9fe:a9fe', '64:ff9b:1::a9fe:a9fe', '2002:a9fe:a9fe::1', '2001:0:a9fe:a9fe::1', '169.254.169.254.', '169。254。169。254',
  '１６９.２５４.１６９.２５４', '169.254.169.254%25lo', '::ffff:0:a9fe:a9fe', 'fe80::1%lo'];
const URLS = ['http://a@169.254.169.254/', 'http://169.254.169.254#@example.com/', 'http://example.com@169.254.169.254/', 'http://0xA9FEA9FE/',
  'http://[::ffff:a9fe:a9fe]/', 'http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/', 'http://169.254.169.254./', 'http://0251.254.169.254/'];

exports.attack = async (t, { allowed }) => {
  await t.needs('connections at all', () => lib.connect('127.0.0.1', allowed));
  await Promise.all(HOSTS.map((host) => t.try(`connect to ${host}`, () => lib.connect(host, 80, { ms: 3000 }))));
  await Promise.all(URLS.map((url) => t.try(`fetch ${url}`, async () => (await fetch(url, { signal: AbortSignal.timeout(3000) })).status)));
};
