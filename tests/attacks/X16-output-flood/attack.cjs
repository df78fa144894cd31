const { Worker } = require('node:worker_threads');

const FLOOD = "const fs = require('node:fs'); const bytes = Buffer.alloc(1 << 16, 'x'); for (;;) { try { fs.writeSync(1, bytes); } catch {} }";

exports.attack = async (t) => {
  for (let n = 0; n < 3; n++) {
    const worker = new Worker(FLOOD, { eval: true });
    await new Promise((done) => worker.once('online', done).once('error', done));
  }
  await lib.sleep(200);
  t.refused('hold up the guest', 'its output is read in turns');
};
