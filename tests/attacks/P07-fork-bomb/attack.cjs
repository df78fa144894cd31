const { spawn } = require('node:child_process');

exports.attack = async (t, { native, mark }) => {
  const program = native ? ['/bin/sleep', ['30']] : [process.execPath, ['-e', 'setInterval(() => {}, 1000)', mark]];
  const started = [];
  // Natively: many times the limit is proof enough.
  while (!native || started.length < 100) {
    const child = spawn(...program, { stdio: 'ignore', detached: true });
    started.push(child);
    await new Promise((resolve, reject) => child.on('spawn', resolve).on('error', reject));
  }
  for (const child of started) child.kill('SIGKILL');
  t.worked('start as many as it likes', `${started.length}`);
};
