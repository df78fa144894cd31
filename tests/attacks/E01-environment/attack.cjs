const fs = require('node:fs');
const os = require('node:os');

const DECLARED = new Set(['LANG', 'NODE_ENV', 'PATH', 'TZ', 'HOME', 'TMPDIR', 'TMP', 'TEMP']);

exports.attack = (t, { secret, host }) => {
  t.unless('variables that nobody declared', Object.keys(process.env).filter((name) => !DECLARED.has(name)).join(' '));
  t.unless('a secret in the environment', Object.values(process.env).some((value) => value.includes(secret)));
  for (const file of ['environ', 'cmdline', 'auxv', 'stat', 'status', 'mountinfo', 'cgroup', 'limits']) {
    const text = read(`/proc/self/${file}`);
    t.unless(`the secret in ${file}`, text.includes(secret));
  }
  t.unless('undeclared names in environ', read('/proc/self/environ').split('\0').filter(undeclared).join(' '));
  t.unless("the host's name", [os.hostname(), read('/etc/hostname')].some((name) => name.trim() === host));
  t.unless('the owner of the host', os.userInfo().username === 'root');
};

function undeclared(line) {
  return line !== '' && !DECLARED.has(line.split('=')[0]);
}

function read(path) {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
