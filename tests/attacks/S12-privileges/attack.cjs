const fs = require('node:fs');
const { execFileSync } = require('node:child_process');

exports.attack = (t, { native }) => {
  lib.calls(t, 12);
  t.try('a program in the scratch directory, set-uid', () => {
    fs.copyFileSync(native ? '/bin/true' : process.execPath, 'program');
    fs.chmodSync('program', 0o4755);
    return execFileSync('./program', ['-v'], { stdio: 'pipe' }).toString();
  });
  t.try('an addon in the scratch directory', () => {
    if (!native) fs.copyFileSync('/runtime/fork.node', 'addon.node');
    process.dlopen({ exports: {} }, `${process.cwd()}/addon.node`);
  });
};
