exports.attack = async (t) => {
  const fd = lib.channel();
  const open = Buffer.from(JSON.stringify({ host: '127.0.0.1', port: 9 }));
  const batch = [];
  for (let n = 1; n < 200; n++) {
    batch.push(lib.frame({ channel: n, kind: 16, payload: open }));
    batch.push(lib.frame({ channel: n + 10_000, kind: 19, payload: Buffer.alloc(4096) }));
    batch.push(lib.frame({ channel: n, kind: 22, payload: Buffer.from([255, 255, 255, 127]) }));
    batch.push(lib.frame({ kind: 3, payload: Buffer.from(JSON.stringify({ id: n, method: 'nothing.here', params: 'x'.repeat(1000) })) }));
  }
  const bytes = Buffer.concat(batch);
  for (let n = 0; n < 200; n++) lib.writeAll(fd, bytes, { ms: 200 });
  t.refused('break the channel', 'it was taken in turns');
};
