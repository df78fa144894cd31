exports.attack = (t, { native }) => {
  const kept = [];
  // Natively: twice the limit is proof enough.
  for (let n = 0; !native || process.memoryUsage.rss() < 256 << 20; n++) {
    for (let i = 0; i < 1000; i++) kept.push({ n, text: `${n}-${i}`.repeat(8) });
  }
  t.worked('use twice the memory', `${process.memoryUsage.rss() >> 20} MiB`);
};
