exports.attack = (t) => {
  lib.calls(t, 4, /userfaultfd/);
  lib.calls(t, 12, /memfd/);
};
