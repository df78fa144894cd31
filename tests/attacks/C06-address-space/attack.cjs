const { Worker } = require('node:worker_threads');

// Made while the bundle is loaded, and so in every fork: as a copy, or as the same memory.
const shared = new Int32Array(new SharedArrayBuffer(4096));
const wasm = new Int32Array(new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true }).buffer);

exports.leave = (t) => {
  for (const memory of [shared, wasm]) Atomics.store(memory, 7, 4711);
};

exports.look = async (t) => {
  t.unless('shared memory of the earlier run', Atomics.load(shared, 7) !== 0 && 'SharedArrayBuffer');
  t.unless('shared WebAssembly memory of the earlier run', Atomics.load(wasm, 7) !== 0 && 'WebAssembly.Memory');
  // A fine clock is no secret: it has to find nothing to measure.
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker('const { workerData } = require("node:worker_threads"); for (;;) Atomics.add(workerData, 0, 1);', { eval: true, workerData: clock });
  await t.needs('a clock of its own', async () => {
    for (let turns = 0; Atomics.load(clock, 0) === 0; turns++) {
      if (turns > 500) throw new Error('the counter stands still');
      await lib.sleep(10);
    }
  });
  await worker.terminate();
};
