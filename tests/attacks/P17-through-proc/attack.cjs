const fs = require('node:fs');
const { spawn } = require('node:child_process');

/** None of these waits: a pipe is opened without. */
const READ = fs.constants.O_RDONLY | fs.constants.O_NONBLOCK;
const open = (path) => fs.closeSync(fs.openSync(path, READ));

/** File systems whose files everybody may open are no door: those of the image and the bundle. */
let everybodys = new Set();

function openAnothers(path) {
  const fd = fs.openSync(path, READ);
  const stat = fs.fstatSync(fd);
  fs.closeSync(fd);
  if (stat.isCharacterDevice() || everybodys.has(stat.dev)) throw new Error('open to everybody');
}

/** Each throws unless it leads somewhere. */
const DOORS = {
  'read memory of another': (at) => open(`${at}/mem`),
  'write memory of another': (at) => fs.closeSync(fs.openSync(`${at}/mem`, 'r+')),
  'list the working directory of another': (at) => fs.readdirSync(`${at}/cwd/`),
  'list the root of another': (at) => fs.readdirSync(`${at}/root/`),
  'open the program of another': (at) => open(`${at}/exe`),
  'open a file that another has open': (at) => {
    let why = new Error('no descriptors');
    for (const fd of fs.readdirSync(`${at}/fd`)) {
      try {
        return openAnothers(`${at}/fd/${fd}`);
      } catch (error) {
        why = error;
      }
    }
    throw why;
  },
  'write what another writes on': (at) => fs.closeSync(fs.openSync(`${at}/fd/1`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK)),
};

exports.attack = async (t, { native }) => {
  if (!native) everybodys = new Set([process.execPath, __filename, '/'].map((path) => fs.statSync(path).dev));
  const other = native ? spawn('/bin/sleep', ['20'], { stdio: ['ignore', fs.openSync('out', 'w'), 'ignore'] }) : undefined;
  await lib.sleep(50);
  for (const [what, door] of Object.entries(DOORS)) {
    const through = [];
    let why = 'ENOENT';
    for (let pid = 1; pid < 3000 && through.length < 4; pid++) {
      if (pid === process.pid) continue;
      try {
        door(`/proc/${pid}`);
        through.push(pid);
      } catch (error) {
        if (error.code !== 'ENOENT') why = lib.reason(error);
      }
    }
    if (through.length > 0) t.worked(what, through.join(' '));
    else t.refused(what, why);
  }
  other?.kill();
};
