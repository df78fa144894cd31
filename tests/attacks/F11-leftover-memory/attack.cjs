const kept = [];

exports.leave = (t, { mark }) => {
  kept.push(mark);
  globalThis.leftByAudit = mark;
  Object.defineProperty(Object.prototype, 'leftOnPrototype', { value: mark, enumerable: false });
  process.env.LEFT_BY_AUDIT = mark;
  require('node:fs').leftByAudit = mark;
  require.cache[`/${mark}`] = { exports: mark };
  Array.prototype.leftByAudit = mark;
};

exports.look = (t, { native }) => {
  t.unless("the module's memory", kept.length > 0);
  t.unless('a global', globalThis.leftByAudit);
  t.unless('a prototype', {}.leftOnPrototype ?? [].leftByAudit);
  t.unless('the environment', process.env.LEFT_BY_AUDIT);
  t.unless('a builtin module', require('node:fs').leftByAudit);
  t.unless('the module cache', Object.keys(require.cache).some((name) => /^\/[0-9a-f]{16}/.test(name)));
  if (native) delete Array.prototype.leftByAudit;
};
