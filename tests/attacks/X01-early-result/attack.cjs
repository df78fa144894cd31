exports.attack = async () => {
  const result = Buffer.from(JSON.stringify({ is: 'completed', output: { tries: [{ what: 'speak for itself early', worked: false, why: 'its own result' }] } }));
  const late = Buffer.from(JSON.stringify({ is: 'completed', output: { tries: [{ what: 'a second result counts', worked: true, why: 'late' }] } }));
  const fd = lib.channel();
  lib.writeAll(fd, lib.frame({ kind: 2, payload: result }));
  for (let n = 0; n < 100; n++) lib.writeAll(fd, lib.frame({ kind: 2, payload: late }));
  await lib.sleep(10_000);
};
