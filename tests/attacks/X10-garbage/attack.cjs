const { randomBytes } = require('node:crypto');

exports.attack = async () => {
  const fd = lib.channel();
  // A length that no frame has, whatever follows.
  lib.writeAll(fd, Buffer.concat([Buffer.from([255, 255, 255, 127]), randomBytes(1 << 20)]));
  await lib.sleep(10_000);
};
