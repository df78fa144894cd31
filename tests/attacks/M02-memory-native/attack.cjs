exports.attack = (t, { native }) => {
  const kept = [];
  for (let mib = 0; !native || mib < 256; mib += 8) kept.push(Buffer.alloc(8 << 20, 1));
  t.worked('use twice the memory', `${process.memoryUsage.rss() >> 20} MiB`);
};
