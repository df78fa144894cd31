const HOSTS = ['127.0.0.1', '127.1.2.3', 'localhost', '0.0.0.0', '::1', '::', '10.0.0.1', '172.16.0.1', '192.168.0.1', '100.64.0.1',
  'fc00::1', 'fe80::1', '169.254.1.1', '224.0.0.1', '255.255.255.255', '192.0.2.1', '198.18.0.1', '240.0.0.1'];

exports.attack = async (t, { allowed, forbidden, server, native }) => {
  await t.needs('connections at all', () => lib.connect('127.0.0.1', allowed));
  // Natively only what surely answers: the listener on loopback.
  const hosts = native ? ['127.0.0.1', 'localhost', '0.0.0.0'] : HOSTS;
  await Promise.all(hosts.map((host) => t.try(`connect to ${host}`, () => lib.connect(host, forbidden))));
  if (native) return;
  await t.try("connect to the server's own port", () => lib.connect('127.0.0.1', server));
  await Promise.all([22, 25, 5432, 6379, 8686].map((port) => t.try(`port ${port} of loopback`, () => lib.connect('127.0.0.1', port))));
};
