const fs = require('node:fs');
const { spawn } = require('node:child_process');

const STAY = "for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT']) process.on(name, () => {}); setInterval(() => {}, 50);";

exports.leave = async (t, { mark }) => {
  const again = `require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(STAY)}, '${mark}'], { detached: true, stdio: 'ignore' }).unref();`;
  for (const code of [STAY, `${again} ${STAY}`]) {
    const child = spawn(process.execPath, ['-e', code, mark], { detached: true, stdio: 'ignore' });
    await new Promise((done) => child.on('spawn', done).on('error', done));
    child.unref();
  }
  await lib.sleep(200);
};

exports.look = (t, { mark, native }) => {
  const left = fs.readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid && line(pid).includes(mark) && !line(pid).includes('control.cjs'));
  t.unless('a process of the earlier run', left.join(' '));
  if (native) for (const pid of left) process.kill(Number(pid), 'SIGKILL');
};

function line(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}
