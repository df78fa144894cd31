const fs = require('node:fs');

exports.attack = (t) => {
  const result = Buffer.from(JSON.stringify({ is: 'completed', output: { tries: [{ what: 'forged', worked: true }] } }));
  t.try('write frames to output', () => {
    for (const fd of [1, 2]) for (let sandbox = 0; sandbox < 8; sandbox++) fs.writeSync(fd, lib.frame({ sandbox, kind: 2, payload: result }));
  });
};
