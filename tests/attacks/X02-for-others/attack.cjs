exports.attack = async () => {
  const fd = lib.channel();
  const forged = Buffer.from(JSON.stringify({ is: 'completed', output: { mark: 'forged', tries: [{ what: 'results for others', worked: false, why: 'its own' }] } }));
  const log = Buffer.from(JSON.stringify([{ at: 0, level: 'info', message: 'forged' }]));
  const call = Buffer.from(JSON.stringify({ id: 1, method: 'metadata.set', params: { metadata: { forged: true }, connectionId: 'c1', tenant: 'other' } }));
  for (let sandbox = 0; sandbox < 64; sandbox++) {
    lib.writeAll(fd, lib.frame({ sandbox, kind: 5, payload: log }));
    lib.writeAll(fd, lib.frame({ sandbox, kind: 8 }));
    lib.writeAll(fd, lib.frame({ sandbox, kind: 3, payload: call }));
  }
  for (let sandbox = 0; sandbox < 64; sandbox++) lib.writeAll(fd, lib.frame({ sandbox, kind: 2, payload: forged }));
  await lib.sleep(10_000);
};
