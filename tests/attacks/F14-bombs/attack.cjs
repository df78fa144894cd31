const fs = require('node:fs');
const zlib = require('node:zlib');

exports.attack = (t, { native }) => {
  const piece = zlib.gzipSync(Buffer.alloc(16 << 20));
  // 1 GiB; natively 384 MiB, past the limit.
  const bomb = Buffer.concat(Array.from({ length: native ? 24 : 64 }, () => piece));
  const sparse = fs.openSync('sparse', 'w+');
  fs.ftruncateSync(sparse, 10 * 2 ** 30);
  fs.closeSync(sparse);
  fs.rmSync('sparse');
  const { length } = zlib.gunzipSync(bomb);
  t.worked('unpack past the limit', `${bomb.length >> 10} KiB became ${length >> 20} MiB`);
};
