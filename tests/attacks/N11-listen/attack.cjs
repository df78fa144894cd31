const net = require('node:net');
const dgram = require('node:dgram');
const http = require('node:http');

const listening = (server, ...where) =>
  new Promise((done, fail) => {
    server.on('error', fail);
    server.listen(...where, () => {
      const address = JSON.stringify(server.address());
      server.close();
      done(address);
    });
  });

exports.attack = async (t) => {
  for (const host of ['0.0.0.0', '127.0.0.1', '::', '::1']) {
    await t.try(`TCP on ${host}`, () => listening(net.createServer(), 0, host));
    await t.try(`HTTP on ${host}`, () => listening(http.createServer(), 0, host));
  }
  await t.try('UDP', () =>
    new Promise((done, fail) => {
      const socket = dgram.createSocket('udp4').on('error', fail);
      socket.bind(0, () => {
        socket.close();
        done('bound');
      });
    }),
  );
  await t.try('a socket file outside of its scratch directory', () => listening(net.createServer(), '/dev/shm/s'));
};
