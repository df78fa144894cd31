exports.attack = () => {
  process.abort();
};
