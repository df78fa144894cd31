const fs = require('node:fs');

exports.attack = (t, { canary }) => {
  for (const start of ['/proc/self/root', '/proc/1/root', '/proc/1/cwd/..', `/proc/${process.ppid}/root`]) {
    t.try(`${start} leads to the host`, () => fs.readFileSync(`${start}${canary}`, 'utf8'));
  }
  const up = '../'.repeat(40);
  t.try('up from the working directory', () => fs.readFileSync(`/proc/self/cwd/${up}${canary}`, 'utf8'));
  t.try('up from /tmp', () => fs.readFileSync(`/tmp/${up}${canary}`, 'utf8'));
  t.try('through a descriptor of /', () => {
    const fd = fs.openSync('/', 'r');
    return fs.readFileSync(`/proc/self/fd/${fd}/..${canary}`, 'utf8');
  });
};
