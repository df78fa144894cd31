exports.attack = (t) => {
  // Instead of the list: asked for its JSON, it never answers.
  t.list = { toJSON: () => { for (;;); } };
};
