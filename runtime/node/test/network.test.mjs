// The network of a sandbox: everything that opens a connection is led over the stream, to a gateway that really dials.

import assert from 'node:assert/strict';
import test, { after, before } from 'node:test';
import { run } from './support/peer.mjs';
import { servers } from './support/servers.mjs';

let web;
before(async () => (web = await servers()));
after(() => web.close());

const gateway = {
  hosts: { 'web.test': '127.0.0.1', 'other.test': '127.0.0.1' },
  denied: {
    '169.254.169.254': { code: 'egress_denied', message: 'link-local addresses are not public', rule: 'link_local' },
    'nowhere.test': { code: 'ENOTFOUND', message: 'no such host' },
    'slow.test': { code: 'ETIMEDOUT', message: 'no answer' },
  },
};

const imports = ['http', 'https', 'http2', 'net', 'tls', 'dns', 'dgram'].map((name) => `import ${name} from 'node:${name}';`).join('\n');
const source = (body) => `
  import { createAction } from 'bulkhead';
  import { z } from 'zod';
  import axios from 'axios';
  import { createHash } from 'node:crypto';
  import { promisify } from 'node:util';
  import { once } from 'node:events';
  ${imports}
  export default createAction({ input: z.any(), output: z.any(), exec: async (nango, { ports, cert }) => { ${body} } });`;

const answers = {
  'dns.lookup': ({ host, family }) => {
    if (host === 'web.test') return [{ address: '127.0.0.1', family: 4 }, { address: '::1', family: 6 }].filter((a) => !family || a.family === family);
    if (host === 'denied.test') throw Object.assign(new Error('names of that zone are denied'), { code: 'egress_denied', payload: { rule: 'zone' } });
    throw Object.assign(new Error('no such host'), { code: 'ENOTFOUND' });
  },
};

for (const flags of [[], ['--single-threaded']]) {
  const mode = flags.length === 0 ? 'threads' : 'single-threaded';
  /** Runs `body` in a sandbox and returns its output. */
  const inside = async (body) => {
    const { peer, result } = await run(source(body), { flags, gateway, answers, start: { input: { ports: web.ports, cert: web.cert } } });
    assert.equal(result.is, 'completed', JSON.stringify(result) + peer.output);
    return { output: result.output, peer };
  };
  const check = (name, act) => test(`${name} (${mode})`, act);

  check('fetch and axios', async () => {
    const { output, peer } = await inside(`
      const url = 'http://web.test:' + ports.http;
      const first = await (await fetch(url + '/a?b=c')).json();
      const posted = await (await fetch(url, { method: 'POST', body: 'x'.repeat(300_000) })).json();
      const { data } = await axios.put(url + '/d', { e: 1 });
      return { first, posted, data };`);
    assert.equal(output.first.path, '/a?b=c');
    assert.equal(output.posted.bytes, 300_000);
    assert.deepEqual([output.data.method, output.data.bytes], ['PUT', 7]);
    assert.deepEqual([...new Set(peer.opens.map(({ host }) => host))], ['web.test'], 'the gateway gets the name');
  });

  check('http with a kept connection', async () => {
    const { output } = await inside(`
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      const seen = [];
      for (let n = 0; n < 3; n++) {
        const [response] = await once(http.get({ host: 'web.test', port: ports.http, path: '/' + n, agent }), 'response');
        seen.push(JSON.parse(await new Response(response).text()).port);
      }
      agent.destroy();
      return seen;`);
    assert.equal(new Set(output).size, 1, 'one connection for all three');
  });

  check('https: certificates are checked, by https, fetch and tls', async () => {
    const { output } = await inside(`
      const options = { host: 'web.test', port: ports.https, servername: 'web.test' };
      const [response] = await once(https.get({ ...options, ca: cert, agent: new https.Agent({ keepAlive: true }) }), 'response');
      const told = JSON.parse(await new Response(response).text());
      const untrusted = await fetch('https://web.test:' + ports.https).catch((e) => e.cause.code);
      const distrusted = await once(https.get(options), 'response').catch((e) => e.code);
      const wrongName = await once(tls.connect({ ...options, ca: cert, servername: 'other.test', host: 'other.test' }), 'secureConnect').catch((e) => e.code);
      const socket = tls.connect({ ...options, ca: cert });
      await once(socket, 'secureConnect');
      const kept = { authorized: socket.authorized, address: socket.remoteAddress, port: socket.remotePort, protocol: socket.getProtocol() };
      socket.end();
      return { told, untrusted, distrusted, wrongName, kept };`);
    assert.equal(output.told.host, `web.test:${web.ports.https}`);
    assert.deepEqual([output.untrusted, output.distrusted, output.wrongName], ['DEPTH_ZERO_SELF_SIGNED_CERT', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_TLS_CERT_ALTNAME_INVALID']);
    assert.deepEqual(output.kept, { authorized: true, address: '127.0.0.1', port: web.ports.https, protocol: 'TLSv1.3' });
  });

  check('tls over a socket that was connected before, as proxies and databases do', async () => {
    const { output } = await inside(`
      const socket = net.connect(ports.https, 'web.test');
      await once(socket, 'connect');
      const secure = tls.connect({ socket, ca: cert, servername: 'web.test' });
      await once(secure, 'secureConnect');
      secure.write('GET /over HTTP/1.1\\r\\nhost: h\\r\\nconnection: close\\r\\n\\r\\n');
      let text = '';
      for await (const piece of secure) text += piece;
      return text;`);
    assert.match(output, /^HTTP\/1.1 200 OK[^]*"path":"\/over"/);
  });

  check('http2', async () => {
    const { output } = await inside(`
      const session = http2.connect('https://web.test:' + ports.http2, { ca: cert });
      const stream = session.request({ ':path': '/two', ':method': 'POST' });
      stream.end('x'.repeat(500_000));
      let text = '';
      for await (const piece of stream) text += piece;
      session.close();
      return JSON.parse(text);`);
    assert.deepEqual([output.path, output.bytes], ['/two', 500_000]);
  });

  check('20 MB there and back, over windows of 256 KiB, and half-closed', async () => {
    const { output } = await inside(`
      const socket = net.connect({ port: ports.echo, host: 'web.test', allowHalfOpen: true });
      const piece = Buffer.alloc(1 << 20, 'abcdefghijklmnopq');
      const sent = createHash('sha256');
      const received = createHash('sha256');
      const writing = (async () => {
        for (let n = 0; n < 20; n++) {
          sent.update(piece);
          if (!socket.write(piece)) await once(socket, 'drain');
        }
        socket.end();
      })();
      let bytes = 0;
      for await (const chunk of socket) {
        received.update(chunk);
        bytes += chunk.length;
      }
      await writing;
      return { bytes, same: sent.digest('hex') === received.digest('hex'), written: socket.bytesWritten, read: socket.bytesRead };`);
    assert.deepEqual(output, { bytes: 20 << 20, same: true, written: 20 << 20, read: 20 << 20 });
  });

  check('a reader that takes its time holds up the sender, not the memory', async () => {
    const { output } = await inside(`
      const response = await fetch('http://web.test:' + ports.http + '/large?bytes=50000000');
      const before = process.memoryUsage.rss();
      await new Promise((done) => setTimeout(done, 300));
      const grown = process.memoryUsage.rss() - before;
      const { length } = Buffer.from(await response.arrayBuffer());
      return { grown, length };`);
    assert.equal(output.length, 50_000_000);
    assert.ok(output.grown < 16 << 20, `${output.grown >> 20} MiB while nobody read`);
  });

  check('errors have code, syscall and address as with Node itself', async () => {
    const { output } = await inside(`
      const closed = net.createServer(); // Never listening: a port of our own choosing, where nobody is.
      const failed = (options) => new Promise((done) => net.connect(options).on('error', (e) => done({ ...e, message: e.message })));
      return {
        refused: await failed({ host: '127.0.0.1', port: 47 }),
        unknown: await failed({ host: 'nowhere.test', port: 80 }),
        denied: await failed({ host: '169.254.169.254', port: 80 }),
        late: await failed({ host: 'slow.test', port: 80 }),
        fetched: await fetch('http://169.254.169.254/').catch((e) => ({ message: e.message, code: e.cause.code, rule: e.cause.rule })),
        axios: await axios.get('http://nowhere.test/').catch((e) => e.code),
      };`);
    assert.deepEqual(output.refused, { errno: -111, code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port: 47, message: 'connect ECONNREFUSED 127.0.0.1:47' });
    assert.deepEqual(output.unknown, { errno: -3008, code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname: 'nowhere.test', message: 'getaddrinfo ENOTFOUND nowhere.test' });
    assert.deepEqual(output.denied, {
      code: 'EGRESS_DENIED', syscall: 'connect', rule: 'link_local', address: '169.254.169.254', port: 80,
      message: 'connect EGRESS_DENIED 169.254.169.254 (rule link_local): link-local addresses are not public',
    });
    assert.equal(output.late.code, 'ETIMEDOUT');
    assert.deepEqual(output.fetched, { message: 'fetch failed', code: 'EGRESS_DENIED', rule: 'link_local' });
    assert.equal(output.axios, 'ENOTFOUND');
  });

  check('a connection that breaks off is ECONNRESET, plain and under TLS', async () => {
    const { output } = await inside(`
      const broken = async (socket) => {
        socket.write('x');
        return (await once(socket, 'close').then(() => 'closed', (e) => e.code));
      };
      const plain = await broken(net.connect(ports.rude, 'web.test'));
      const secure = tls.connect({ port: ports.rude, host: 'web.test' });
      return [plain, await once(secure, 'secureConnect').catch((e) => e.code)];`);
    assert.deepEqual(output, ['ECONNRESET', 'ECONNRESET']);
  });

  check('time-outs, aborts and destroy', async () => {
    const { output } = await inside(`
      const url = 'http://web.test:' + ports.http + '/silent';
      const aborted = await fetch(url, { signal: AbortSignal.timeout(100) }).catch((e) => e.name);
      const late = await axios.get(url, { timeout: 100 }).catch((e) => e.code);
      const socket = net.connect({ port: ports.echo, host: 'web.test', timeout: 100 });
      await once(socket, 'timeout');
      socket.destroy();
      await once(socket, 'close');
      const early = net.connect(ports.echo, 'web.test').destroy();
      await once(early, 'close');
      return { aborted, late, destroyed: socket.destroyed, state: socket.readyState };`);
    assert.deepEqual(output, { aborted: 'TimeoutError', late: 'ECONNABORTED', destroyed: true, state: 'closed' });
  });

  check('what packages set on sockets is taken', async () => {
    const { output } = await inside(`
      const socket = net.connect({ port: ports.echo, host: 'web.test', keepAlive: true, noDelay: true });
      socket.setNoDelay(true).setKeepAlive(true, 1000).setTimeout(0).ref().unref().ref();
      await once(socket, 'connect');
      const { remoteAddress, remotePort, remoteFamily, connecting, pending, readyState } = socket;
      const address = socket.address();
      socket.end('bye');
      const [last] = await once(socket, 'data');
      return { remoteAddress, remotePort, remoteFamily, connecting, pending, readyState, address, last: String(last) };`);
    assert.deepEqual(output, {
      remoteAddress: '127.0.0.1', remotePort: web.ports.echo, remoteFamily: 'IPv4', connecting: false, pending: false,
      readyState: 'open', address: { address: '0.0.0.0', port: 0, family: 'IPv4' }, last: 'bye',
    });
  });

  check('a connection that is not ref-ed does not keep a handler alive', async () => {
    const { result } = await run(source(`
      const socket = net.connect(ports.echo, 'web.test');
      await once(socket, 'connect');
      socket.unref();
      await new Promise(() => {});`), { flags, gateway, start: { input: { ports: web.ports } } });
    assert.equal(result.error.code, 'handler_never_settled');
  });

  check('lookups in all their forms', async () => {
    const { output } = await inside(`
      const code = (e) => e.code;
      return {
        plain: await promisify(dns.lookup)('web.test'),
        four: await new Promise((done) => dns.lookup('web.test', 4, (e, address, family) => done([address, family]))),
        six: await dns.promises.lookup('web.test', { family: 6 }),
        all: await dns.promises.lookup('web.test', { all: true }),
        literal: await dns.promises.lookup('192.0.2.7'),
        resolved: [await promisify(dns.resolve4)('web.test'), await dns.promises.resolve6('web.test')],
        unknown: await dns.promises.lookup('nowhere.test').catch((e) => [e.code, e.syscall, e.hostname]),
        denied: await promisify(dns.lookup)('denied.test').catch((e) => [e.code, e.rule]),
      };`);
    assert.deepEqual(output, {
      plain: { address: '127.0.0.1', family: 4 },
      four: ['127.0.0.1', 4],
      six: { address: '::1', family: 6 },
      all: [{ address: '127.0.0.1', family: 4 }, { address: '::1', family: 6 }],
      literal: { address: '192.0.2.7', family: 4 },
      resolved: [['127.0.0.1'], ['::1']],
      unknown: ['ENOTFOUND', 'getaddrinfo', 'nowhere.test'],
      denied: ['EGRESS_DENIED', 'zone'],
    });
  });

  check('resolvers, and questions sent as datagrams, are answered by the platform', async () => {
    const { output, peer } = await inside(`
      const query = (name, type) => {
        const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)]);
        return Buffer.from([0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, type, 0, 1]);
      };
      const ask = async (name, type, send = (socket, bytes) => socket.send(bytes, 53, '9.9.9.9')) => {
        const socket = dgram.createSocket('udp4');
        send(socket, query(name, type));
        const [answer, from] = await once(socket, 'message');
        socket.close();
        return { id: answer.readUInt16BE(0), code: answer[3] & 15, count: answer.readUInt16BE(6), last: answer.subarray(-4).join('.'), bytes: answer.length, from: from.address };
      };
      const resolver = new dns.promises.Resolver();
      resolver.setServers(['9.9.9.9']);
      return {
        four: await ask('web.test', 1),
        six: await ask('web.test', 28),
        sliced: await ask('web.test', 1, (socket, bytes) => socket.send(bytes, 0, bytes.length, 53, '9.9.9.9', () => {})),
        connected: await ask('web.test', 1, (socket, bytes) => socket.connect(53, '9.9.9.9', () => socket.send(bytes))),
        mail: await ask('web.test', 15),
        unknown: await ask('nowhere.test', 1),
        denied: await ask('denied.test', 1),
        resolver: [await resolver.resolve4('web.test'), await resolver.resolve('web.test', 'AAAA'), await dns.promises.resolve('web.test')],
        called: await promisify(new dns.Resolver().resolve4)('web.test'),
      };`);
    const { four, ...rest } = output;
    assert.deepEqual(four, { id: 0xabcd, code: 0, count: 1, last: '127.0.0.1', bytes: 42, from: '9.9.9.9' });
    assert.deepEqual([rest.six.count, rest.six.last, rest.six.bytes], [1, '0.0.0.1', 54]);
    assert.deepEqual([rest.sliced, rest.connected], [four, four]);
    assert.deepEqual([rest.mail, rest.unknown, rest.denied].map(({ code, count }) => [code, count]), [[4, 0], [3, 0], [5, 0]]);
    assert.deepEqual(rest.resolver, [['127.0.0.1'], ['::1'], ['127.0.0.1']]);
    assert.deepEqual(rest.called, ['127.0.0.1']);
    assert.ok(peer.calls.every(({ method }) => method === 'dns.lookup'));
  });

  check('uncontrolledFetch follows five redirects and leaves credentials behind', async () => {
    const { output } = await inside(`
      const url = 'http://web.test:' + ports.http;
      const elsewhere = 'http://other.test:' + ports.http + '/end';
      const told = async (to) => (await nango.uncontrolledFetch({ url: url + '/redirect?to=' + encodeURIComponent(to), headers: { authorization: 'secret' } })).json();
      let loop = url + '/end';
      for (let n = 0; n < 6; n++) loop = url + '/redirect?to=' + encodeURIComponent(loop);
      return { same: (await told('/end')).authorization, other: (await told(elsewhere)).authorization ?? null,
        loop: await nango.uncontrolledFetch({ url: loop }).catch((e) => e.message) };`);
    assert.equal(output.same, 'secret');
    assert.equal(output.other, null);
    assert.match(output.loop, /redirects more than 5 times/);
  });

  check('a unix socket inside the sandbox works as ever', async () => {
    const { output } = await inside(`
      const server = net.createServer((socket) => socket.end('local')).listen('./local.sock');
      await once(server, 'listening');
      const [text] = await once(net.connect('./local.sock'), 'data');
      server.close();
      return String(text);`);
    assert.equal(output, 'local');
  });
}
