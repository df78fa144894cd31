exports.attack = (t, { native }) =>
  new Promise((done) => {
    const begun = Date.now();
    const again = () => {
      setImmediate(() => {});
      setTimeout(() => {}, 1e6).unref();
      // Natively: twice the limit is proof enough.
      if (native && Date.now() - begun > 3000) {
        t.worked('starve its own loop past the limit', `${Date.now() - begun} ms`);
        return done();
      }
      return process.nextTick(again);
    };
    again();
  });
