const fs = require('node:fs');
const path = require('node:path');

const places = () => [process.env.HOME ?? '/tmp', '/tmp', '/var/tmp', '/dev/shm', '/run', '/bundle', '/scratch', process.cwd()];

exports.leave = (t, { mark }) => {
  for (const place of places()) {
    try {
      fs.writeFileSync(path.join(place, `.left-${mark}`), mark, { mode: 0o666 });
      fs.chmodSync(place, 0o777);
    } catch {
      // Not everywhere can be written.
    }
  }
};

exports.look = (t, { mark, native }) => {
  for (const place of places()) {
    const file = path.join(place, `.left-${mark}`);
    t.unless(`a file of the earlier run in ${place}`, fs.existsSync(file) && file);
    if (native) fs.rmSync(file, { force: true });
  }
  if (native) return;
  t.try('list the scratch directories', () => fs.readdirSync('/scratch').join(' '));
  const readable = [];
  for (let slot = 0; slot < 64; slot++) if (process.cwd() !== `/scratch/${slot}` && opens(`/scratch/${slot}`)) readable.push(slot);
  t.unless('a scratch directory of another', readable.join(' '));
};

function opens(place) {
  try {
    return fs.readdirSync(place).length >= 0;
  } catch {
    return false;
  }
}
