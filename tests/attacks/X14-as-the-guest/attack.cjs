exports.attack = async () => {
  const fd = lib.channel();
  for (let sandbox = 0; sandbox < 64; sandbox++) {
    const gone = { is: 'sandbox_gone', sandbox, gone: { how: 'killed' }, usage: {} };
    lib.writeAll(fd, lib.frame({ sandbox: 0, kind: 65, payload: Buffer.from(JSON.stringify(gone)) }));
    lib.writeAll(fd, lib.frame({ sandbox: 0, kind: 64, payload: Buffer.from(JSON.stringify({ do: 'kill_sandbox', sandbox })) }));
  }
  await lib.sleep(10_000);
};
