const fs = require('node:fs');

// What goes on makes this file in its directory, again and again.
const FILE = 'headless';

exports.leave = (t, { native }) => lib.calls(t, native ? 27 : 17);

exports.look = async (t) => {
  fs.rmSync(FILE, { force: true });
  await lib.sleep(60);
  t.unless('an earlier run goes on', fs.existsSync(FILE) && FILE);
};
