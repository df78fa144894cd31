const fs = require('node:fs');

exports.attack = (t, { native }) => {
  process.on('SIGUSR2', () => {});
  // Natively only the question whether it could: signal 0.
  const signal = native ? 0 : 'SIGKILL';
  const own = Number(fs.readlinkSync('/proc/self'));
  t.try('process 1', () => process.kill(1, signal));
  t.try('its parent', () => process.kill(process.ppid, signal));
  t.try('stop its parent', () => process.kill(process.ppid, native ? 0 : 'SIGSTOP'));
  t.try('the group of its parent', () => process.kill(-process.ppid, native ? 0 : 'SIGSTOP'));
  const reached = [];
  let why = 'ESRCH';
  for (let pid = 1; pid < 65_536; pid++) {
    if (pid === own) continue;
    try {
      process.kill(pid, signal);
      reached.push(pid);
    } catch (error) {
      if (error.code !== 'ESRCH') why = error.code;
    }
  }
  if (reached.length > 0) t.worked('any process id', reached.slice(0, 8).join(' '));
  else t.refused('any process id', why);
  // All at once. The kernel says yes although it has signalled nobody: whether it has, the runs beside it tell.
  if (!native) for (const target of [-1, 0]) try { process.kill(target, target === 0 ? 'SIGUSR2' : 'SIGKILL'); } catch {}
};
