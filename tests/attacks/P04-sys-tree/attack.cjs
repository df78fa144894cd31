const fs = require('node:fs');

exports.attack = (t) => {
  for (const place of ['class/net', 'block', 'firmware', 'class/dmi/id', 'fs/cgroup', 'kernel', 'module', 'devices/system/cpu', 'class']) {
    t.try(`/sys/${place}`, () => fs.readdirSync(`/sys/${place}`).slice(0, 5).join(' '));
  }
  const found = [];
  const walk = (directory, depth) => {
    for (const entry of list(directory)) {
      if (entry.name === 'cgroup' && entry.isDirectory()) found.push(`${directory}/${entry.name}`);
      if (depth > 0 && entry.isDirectory() && directory !== '/proc') walk(`${directory}/${entry.name}`, depth - 1);
    }
  };
  walk('/', 2);
  t.unless('a cgroup tree anywhere', found.join(' '));
};

function list(directory) {
  try {
    return fs.readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}
