const fs = require('node:fs');

const READ = ['kallsyms', 'kcore', 'keys', 'modules', 'iomem', 'slabinfo', 'timer_list', 'sched_debug', 'config.gz', 'mounts',
  'interrupts', 'version', 'cmdline', 'net/tcp', 'net/unix', 'sys/kernel/random/boot_id', 'sys/kernel/core_pattern'];
const WRITE = ['sysrq-trigger', 'sys/kernel/core_pattern', 'sys/kernel/hostname', 'sys/vm/drop_caches', 'sys/kernel/modprobe',
  'sys/net/ipv4/ip_forward'];

/** What a process may know of itself: its own mounts and its own empty network are no secret. */
const OWN = new Set(['mounts', 'net/tcp', 'net/unix']);

exports.attack = (t, { native }) => {
  for (const name of READ) {
    if (OWN.has(name) && !native) continue;
    t.try(`read /proc/${name}`, () => {
      const fd = fs.openSync(`/proc/${name}`, 'r');
      const piece = Buffer.alloc(64);
      const count = fs.readSync(fd, piece, 0, 64, 0);
      fs.closeSync(fd);
      return piece.toString('latin1', 0, count);
    });
  }
  // Opened, and not written: the control must not hurt.
  for (const name of WRITE) t.try(`open /proc/${name} for writing`, () => fs.closeSync(fs.openSync(`/proc/${name}`, 'w')));
};
