exports.attack = async (t, _, bulkhead) => {
  for (let n = 0; n < 200; n++) void bulkhead.get({ endpoint: `/${'x'.repeat(8000)}` }).catch(() => {});
  await lib.sleep(50);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
};
