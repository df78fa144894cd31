const fs = require('node:fs');
const { execFileSync } = require('node:child_process');

exports.attack = async (t, { canary, forbidden, native }) => {
  // Each of these may work; what counts is what can be reached afterwards.
  const quietly = (act) => {
    try {
      return act();
    } catch {
      return undefined;
    }
  };
  if (!native) {
    quietly(() => process.binding('fs'));
    quietly(() => process.dlopen({ exports: {} }, '/runtime/fork.node'));
    const addon = { exports: {} };
    quietly(() => process.dlopen(addon, '/runtime/fork.node'));
    // As if it were a zygote: there is no guest on descriptor 3, and no privilege to confine anything with.
  }
  t.try('open the inspector to the network', () => {
    const inspector = require('node:inspector');
    inspector.open(0, '127.0.0.1', false);
    const url = inspector.url();
    inspector.close();
    if (!url) throw new Error('nothing listens');
    return url;
  });
  t.try('read the host from a program with its own options', () => {
    const env = { ...process.env, NODE_OPTIONS: '--require=fs' };
    return execFileSync(process.execPath, ['-p', `fs.readFileSync(${JSON.stringify(canary)}, 'utf8')`], { env, stdio: 'pipe' }).toString();
  });
  t.try('read the host through the raw binding', () => {
    const { readFileUtf8 } = process.binding('fs');
    if (typeof readFileUtf8 === 'function') return readFileUtf8(canary, 0);
    return fs.readFileSync(canary, 'utf8');
  });
  await t.try('connect with the raw binding', () => raw(forbidden));
};

/** Past every patch of the harness: libuv's own socket. */
function raw(port) {
  const { TCP, TCPConnectWrap, constants } = process.binding('tcp_wrap');
  const socket = new TCP(constants.SOCKET);
  const request = new TCPConnectWrap();
  return new Promise((resolve, reject) => {
    request.oncomplete = (status) => (status === 0 ? resolve('connected') : reject(new Error(`status ${status}`)));
    const failed = socket.connect(request, '127.0.0.1', port);
    if (failed !== 0) reject(Object.assign(new Error(`error ${failed}`), { code: `uv ${failed}` }));
  });
}
