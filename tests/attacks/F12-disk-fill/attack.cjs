const fs = require('node:fs');

exports.attack = (t, { native }) => {
  const piece = Buffer.alloc(1 << 20, 1);
  const name = `filler-${process.pid}`;
  const file = fs.openSync(name, 'w');
  // Natively: twice the quota is proof enough.
  const pieces = native ? 32 : Infinity;
  let written = 0;
  try {
    for (; written < pieces; written++) fs.writeSync(file, piece);
  } finally {
    if (native) fs.rmSync(name);
  }
  t.worked('write past the quota', `${written} MiB`);
};
