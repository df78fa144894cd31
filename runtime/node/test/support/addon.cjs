// Stands in for the fork addon: no fork, the stream is file descriptor 3 and the scratch directory comes by
// environment. Left by the real way out, past whatever the function overrides.
'use strict';

const fs = require('node:fs');
const leave = process.reallyExit.bind(process);
const scratch = process.env.BULKHEAD_TEST_SCRATCH;

module.exports = {
  serve: () => ({ stream: 3, scratch }),
  exit: (status) => leave(status),
  failed(stage, message) {
    fs.writeSync(2, `FAILED ${stage}: ${message}\n`);
    leave(70);
  },
};
