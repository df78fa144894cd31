const fs = require('node:fs');
const path = require('node:path');

const PLACES = ['/etc/shadow', '/root', '/home', '/var/lib', '/var/log', '/boot', '/etc/ssh', '/srv', '/opt', '/usr/bin'];

exports.attack = (t, { canary, data, native }) => {
  for (const place of PLACES) {
    t.try(`read ${place}`, () =>
      fs.statSync(place).isDirectory() ? fs.readdirSync(place).join(' ') : fs.readFileSync(place, 'utf8').slice(0, 9),
    );
  }
  t.try('read a secret file of the host', () => fs.readFileSync(canary, 'utf8'));
  t.try("list the server's data", () => fs.readdirSync(native ? path.dirname(canary) : data).join(' '));
  t.try("read the server's database", () => fs.statSync(native ? canary : path.join(data, 'bulkhead.db')).size);
  const bundles = native ? [] : fs.readdirSync('/bundle', { recursive: true }).filter((name) => name.endsWith('.js'));
  t.unless('see bundles of others', bundles.length > 1 && bundles.join(' '));
};
