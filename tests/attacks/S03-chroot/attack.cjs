const fs = require('node:fs');

exports.attack = (t, { canary, native }) => {
  lib.calls(t, 3);
  if (native) return;
  // A descriptor from before, and up.
  for (const place of ['/', '.', '/proc/self', '/runtime']) {
    t.try(`up from a saved descriptor of ${place}`, () => {
      const fd = fs.openSync(place, 'r');
      return fs.readFileSync(`/proc/self/fd/${fd}/${'../'.repeat(20)}${canary}`);
    });
  }
  t.try('setuid from JavaScript', () => process.setuid(0));
  t.unless('be root', process.getuid() === 0 || process.geteuid() === 0);
};
