const fs = require('node:fs');

exports.attack = (t) => {
  const open = [];
  try {
    while (open.length < 6000) open.push(fs.openSync('/dev/null', 'r'));
    t.worked('six thousand open files', `${open.length}`);
  } catch (error) {
    t.refused('six thousand open files', `${error.code} after ${open.length}`);
  }
  for (const fd of open) fs.closeSync(fd);
  lib.calls(t, 19);
};
