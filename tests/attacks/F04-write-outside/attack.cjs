const fs = require('node:fs');
const path = require('node:path');

exports.attack = (t, { mark, native }) => {
  const inside = ['/runtime', '/runtime/harness', '/bundle', '/scratch', '/dev', '/proc'];
  for (const place of ['/', '/etc', '/usr', '/usr/lib', '/var', ...(native ? [] : inside)]) {
    const file = path.join(place, `audit-${mark}`);
    t.try(`write into ${place}`, () => {
      fs.writeFileSync(file, mark);
      fs.rmSync(file);
    });
  }
  const programs = native ? ['/etc/passwd'] : ['/runtime/node', '/runtime/harness/zygote.js', '/runtime/fork.node', '/etc/passwd'];
  // Opened, and not changed: the control must not hurt.
  for (const file of [...programs, ...bundles(native)]) {
    t.try(`open ${path.basename(file)} for writing`, () => fs.closeSync(fs.openSync(file, 'r+')));
  }
  t.try('remove the bundle', () => {
    const [bundle] = bundles(native);
    fs.renameSync(bundle, `${bundle}.gone`);
    fs.renameSync(`${bundle}.gone`, bundle);
  });
  t.try('change the mode of /', () => fs.chmodSync('/', fs.statSync('/').mode & 0o7777));
};

function bundles(native) {
  if (native) return [process.argv[2]];
  const names = fs.readdirSync('/bundle', { recursive: true }).map((name) => path.join('/bundle', name));
  return names.filter((name) => fs.statSync(name).isFile());
}
