const fs = require('node:fs');
const { createRequire } = require('node:module');

exports.attack = (t, { canary }) => {
  const file = `${process.cwd()}/linked.json`;
  const outside = require('node:path').dirname(canary);
  fs.symlinkSync(canary, file.replace('.json', '.txt'));
  t.try('require a file of the host', () => {
    require.extensions['.txt'] = (module, name) => (module.exports = fs.readFileSync(name, 'utf8'));
    return createRequire(`${process.cwd()}/`)('./linked.txt');
  });
  t.try('a package outside of the bundle', () => createRequire(`${outside}/`)('./canary'));
  t.try('up from the bundle', () => createRequire(`${process.cwd()}/`)(`${'../'.repeat(20)}${canary.slice(1)}`));
};
