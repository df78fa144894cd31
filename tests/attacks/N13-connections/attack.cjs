const net = require('node:net');

exports.attack = async (t, { allowed, native }) => {
  const sockets = [];
  const open = () =>
    new Promise((done) => {
      const socket = net.connect(allowed, '127.0.0.1');
      sockets.push(socket);
      socket.on('connect', () => {
        socket.write('GET / HTTP/1.1\r\nx-slow: ');
        done(true);
      });
      socket.on('error', () => done(false));
      socket.on('close', () => done(false));
    });
  const opened = await Promise.all(Array.from({ length: native ? 64 : 400 }, open));
  const held = opened.filter(Boolean).length;
  for (const socket of sockets) socket.destroy();
  if (held > 16) t.worked('hold more than the limit', `${held}`);
  else t.refused('hold more than the limit', `${held} of ${opened.length}`);
  if (held === 0) t.worked('needed: connections at all', 'none could be made');
};
