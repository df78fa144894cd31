exports.attack = async (t, _, bulkhead) => {
  const { credentials } = await bulkhead.getConnection();
  const secret = credentials.token ?? credentials.access_token;
  await t.needs('credentials to print', () => {
    if (typeof secret !== 'string' || secret.length < 8) throw new Error(`there is ${typeof secret}`);
  });
  console.log(credentials);
  console.log(`Bearer ${secret}`);
  console.warn(JSON.stringify({ headers: { authorization: `Bearer ${secret}` } }));
  for (const user of ['', 'a:', 'me:', 'you:']) console.log(`Basic ${Buffer.from(user + secret).toString('base64')}`);
  console.log(Buffer.from(secret).toString('hex'), Buffer.from(secret).toString('base64url'));
  console.error(`https://api.example.com/?token=${encodeURIComponent(secret)}`);
  t.worked('print them', 'in nine ways');
};
