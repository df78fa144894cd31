exports.attack = (t, { native }) => {
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGXCPU', 'SIGALRM', 'SIGUSR2']) {
    try {
      process.on(name, () => {});
    } catch {
      // Not every signal can be caught.
    }
  }
  const begun = Date.now();
  // Natively: twice the limit is proof enough.
  while (!native || Date.now() - begun < 3000);
  t.worked('run past the limit', `${Date.now() - begun} ms`);
};
