const dgram = require('node:dgram');
const dns = require('node:dns');
const { execFileSync } = require('node:child_process');

exports.attack = async (t, { native }) => {
  for (const type of ['udp4', 'udp6']) {
    await t.try(`a datagram over ${type}`, () =>
      new Promise((done, fail) => {
        const socket = dgram.createSocket(type);
        socket.on('error', fail);
        socket.send('x', 443, type === 'udp4' ? '8.8.8.8' : '2001:4860:4860::8888', (error) => {
          socket.close();
          return error ? fail(error) : done('sent');
        });
      }),
    );
  }
  if (!native) {
    const resolver = new dns.Resolver({ timeout: 1000, tries: 1 });
    resolver.setServers(['8.8.8.8']);
    await t.try('a name server of its own', () => new Promise((done, fail) => resolver.resolveTxt('example.com', (error, found) => (error ? fail(error) : done(found)))));
  }
  const connect = "require('net').connect(80, '8.8.8.8').on('connect', () => { console.log('connected'); process.exit(0); }).on('error', (e) => { console.error(e.code); process.exit(1); })";
  t.try('a program without the gateway', () => execFileSync(process.execPath, ['-e', connect], { stdio: 'pipe', timeout: 4000 }).toString());
};
