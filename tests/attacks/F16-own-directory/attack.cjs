const fs = require('node:fs');
const path = require('node:path');

// Natively a directory stays what it is from one process to the next, as it would be for sandboxes.
const place = (native) => (native ? path.join(process.env.HOME, 'place') : process.cwd());
const MARK = 86_400 * 365;

exports.leave = (t, { native }) => {
  const here = place(native);
  if (native) fs.mkdirSync(here, { recursive: true });
  fs.utimesSync(here, MARK, MARK);
  fs.chmodSync(here, 0o751);
};

exports.look = (t, { native }) => {
  const here = place(native);
  const { mode, mtimeMs, ctimeMs, atimeMs } = fs.statSync(here);
  const permissions = (mode & 0o7777).toString(8);
  t.unless('permissions of the earlier run', permissions !== '700' && permissions);
  t.unless('times of the earlier run', [mtimeMs, atimeMs].some((it) => it === MARK * 1000) && `${mtimeMs} ${ctimeMs}`);
};
