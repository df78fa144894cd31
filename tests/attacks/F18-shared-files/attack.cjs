exports.attack = (t) => lib.calls(t, 14);
