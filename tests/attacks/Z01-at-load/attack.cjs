const fs = require('node:fs');

exports.load = (t) => {
  for (const file of ['/etc/shadow', '/root', '/home', '/proc/1/environ', '/proc/1/root/etc', '/scratch/0', '/scratch/1', '/proc/kallsyms', '/sys/class']) {
    t.try(`read ${file}`, () => (fs.statSync(file).isDirectory() ? fs.readdirSync(file).join(' ') : fs.readFileSync(file, 'latin1')));
  }
  for (const file of ['/planted', '/bundle/planted', '/runtime/planted', '/scratch/planted', '/scratch/0/planted', '/dev/planted', '/etc/planted', '/guest/planted']) {
    t.try(`write ${file}`, () => fs.writeFileSync(file, 'planted'));
  }
  t.try('signal process 1', () => process.kill(1, 'SIGKILL'));
  t.try('signal its guest', () => process.kill(process.ppid, 'SIGTERM'));
  t.try('become root', () => process.setuid(0));
  t.try('see other processes', () => {
    const others = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
    if (others.length === 0) throw new Error('only itself');
    return others.join(' ');
  });
  const { TCP, constants } = process.binding('tcp_wrap');
  const socket = new TCP(constants.SERVER);
  const failed = socket.bind('0.0.0.0', 0);
  if (failed === 0) t.worked('bind a socket', '');
  else t.refused('bind a socket', `uv ${failed}`);
};

exports.attack = () => {};
