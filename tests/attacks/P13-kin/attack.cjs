const { spawn } = require('node:child_process');

// Somebody listens who was started while the bundle was loaded, on a name that belongs to no file. A run of the same
// function must not get there.
const LISTEN = "require('node:net').createServer().listen('\\0bulkhead-kin'); setTimeout(() => process.exit(), 60_000);";

exports.load = () => {
  spawn(process.execPath, ['-e', LISTEN], { stdio: 'ignore' }).on('error', () => {});
};

exports.attack = async (t) => {
  await lib.sleep(700);
  lib.calls(t, 15);
};
