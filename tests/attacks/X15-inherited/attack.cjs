const fs = require('node:fs');

const links = () => new Map(fs.readdirSync('/proc/self/fd').map((fd) => [Number(fd), link(fd)]).filter(([, to]) => to !== undefined));

function link(fd) {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return undefined;
  }
}

// The zygote leaves a file open: a fork must not have it.
exports.load = () => {
  exports.open = fs.openSync(__filename, 'r');
};

exports.attack = (t) => {
  const found = links();
  const sockets = [...found.values()].filter((to) => to.startsWith('socket:'));
  t.unless('a socket besides its channel', sockets.length > 1 && sockets.join(' '));
  t.unless('the file that was open in its zygote', found.get(exports.open)?.includes('bundle') && found.get(exports.open));
  const files = [...found].filter(([, to]) => to.startsWith('/') && to !== '/dev/null' && !to.startsWith('/proc/'));
  t.unless('files', files.map(([fd, to]) => `${fd} ${to}`).join(' '));
  const pipes = new Set([...found.values()].filter((to) => to.startsWith('pipe:')));
  // One is its output; a second is that by which libuv is told of signals.
  t.unless('pipes of others', pipes.size > 2 && [...pipes].join(' '));
  t.try('write to what was open', () => fs.writeSync(exports.open, 'x') && found.get(exports.open) !== '/dev/null' ? 'written' : refuse());
};

function refuse() {
  throw new Error('it is null now');
}
