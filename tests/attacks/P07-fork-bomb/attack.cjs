const { spawn } = require('node:child_process');

exports.attack = async (t, { native, mark }) => {
  const program = native ? ['/bin/sleep', ['30']] : [process.execPath, ['-e', 'setInterval(() => {}, 1000)', mark]];
  const started = [];
  // Natively: many times the limit is proof enough.
  while (!native || started.length < 100) {
    const child = spawn(...program, { stdio: 'ignore', detached: true });
    // Refused, it goes on trying: what it has started so far lives on.
    const refused = await new Promise((resolve) => child.on('spawn', () => resolve(false)).on('error', () => resolve(true)));
    if (refused) await new Promise((resolve) => setTimeout(resolve, 10));
    else started.push(child);
  }
  for (const child of started) child.kill('SIGKILL');
  t.worked('start as many as it likes', `${started.length}`);
};
