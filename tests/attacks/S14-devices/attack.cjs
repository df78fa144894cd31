const fs = require('node:fs');

const HARMLESS = new Set(['null', 'zero', 'full', 'random', 'urandom', 'fd']);
const NAMES = ['kvm', 'fuse', 'net/tun', 'kmsg', 'mem', 'port', 'sda', 'vda', 'nvme0n1', 'loop0', 'loop-control', 'mapper/control', 'vhost-net', 'vsock',
  'userfaultfd', 'tty', 'ptmx', 'console', 'shm', 'hpet', 'cpu/0/msr', 'dri/card0', 'snapshot', 'autofs', 'uinput', 'rfkill'];

exports.attack = (t) => {
  for (const name of NAMES) {
    t.try(`/dev/${name}`, () => {
      const stat = fs.statSync(`/dev/${name}`);
      fs.closeSync(fs.openSync(`/dev/${name}`, stat.isDirectory() ? 'r' : 'r+'));
    });
  }
  t.try('others than the five', () => {
    const others = fs.readdirSync('/dev').filter((name) => !HARMLESS.has(name));
    if (others.length === 0) throw new Error('only those');
    return others.join(' ');
  });
};
