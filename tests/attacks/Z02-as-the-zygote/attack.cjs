const fs = require('node:fs');

exports.load = (t) => {
  const say = (packet) => fs.writeSync(3, JSON.stringify(packet));
  try {
    for (let pid = 2; pid < 200; pid++) say({ exited: { pid, status: 9, cpu_us: 0, memory_bytes_peak: 0 } });
    for (let sandbox = 1; sandbox < 200; sandbox++) say({ not_forked: { sandbox, error: { stage: 'x', message: 'forged' } } });
    say('ready');
    say('ready');
    fs.writeSync(3, 'no packet at all');
  } catch (error) {
    t.refused('speak as the zygote', error.code);
  }
  t.refused('harm others', 'what it says is about itself');
};

exports.attack = () => {};
