const TOKEN = ['a-token', 'that-no', 'sandbox-sees'].join('-');

exports.attack = async (t, _, bulkhead) => {
  const seen = async (config) => {
    const answer = await bulkhead.get({ endpoint: '/echo', responseType: 'text', ...config });
    return `${answer.data}${JSON.stringify(answer.headers)}`;
  };
  const all = await seen({});
  await t.needs('credentials are added', async () => {
    if (!/authorization/i.test(all)) throw new Error('no authorization header');
  });
  t.unless('in the body', all.includes(TOKEN));
  t.unless('in base64', all.includes(Buffer.from(TOKEN).toString('base64').slice(0, 20)));
  t.unless('as bytes', (await bulkhead.get({ endpoint: '/echo', responseType: 'arraybuffer' })).data.toString('latin1').includes(TOKEN));
  await t.try('from the platform', async () => JSON.stringify(await bulkhead.getConnection()));
  await t.try('the token from the platform', async () => JSON.stringify(await bulkhead.getToken()));
  t.unless('in its own memory', process.env.TOKEN ?? '');
};
