const fs = require('node:fs');
const net = require('node:net');

exports.attack = async (t, { native }) => {
  // Unix sockets, whose buffers are the kernel's: nobody reads.
  const piece = Buffer.alloc(1 << 16, 1);
  const path = `${process.cwd()}/s`;
  const held = [];
  const server = net.createServer((socket) => held.push(socket.pause()));
  await new Promise((done) => server.listen(path, done));
  let bytes = 0;
  const wanted = native ? 24 << 20 : 1 << 30;
  try {
    while (bytes < wanted) {
      const socket = net.connect(path);
      await new Promise((done, fail) => socket.on('connect', done).on('error', fail));
      held.push(socket);
      for (let n = 0; n < 8; n++) {
        socket.write(piece);
        bytes += piece.length;
      }
    }
    t.worked('hold as much of it as it likes', `${bytes >> 20} MiB`);
  } catch (error) {
    t.refused('hold as much of it as it likes', `${error.code} after ${bytes >> 20} MiB`);
  }
  for (const socket of held) socket.destroy();
  server.close();
  fs.rmSync(path, { force: true });
};
