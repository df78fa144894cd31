const { spawn } = require('node:child_process');

// Nobody waits for them while a bundle is loaded: each stays, if only as a corpse, and counts.
exports.load = (t) => {
  if (process.execPath !== '/runtime/node') return;
  let started = 0;
  let why;
  while (started < 1000 && why === undefined) {
    const child = spawn('/runtime/guest', [], { stdio: 'ignore' });
    child.on('error', () => {});
    if (child.pid === undefined) why = `after ${started}`;
    else started += 1;
  }
  if (why === undefined) t.worked('a thousand processes while it loads', `${started}`);
  else t.refused('a thousand processes while it loads', why);
};

exports.attack = () => {};
