exports.attack = (t) => {
  for (let n = 0; n < 200_000; n++) console.log(`line ${n} ${'x'.repeat(80)}`);
  t.worked('log on', '200,000 lines');
};
