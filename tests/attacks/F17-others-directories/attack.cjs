const fs = require('node:fs');
const path = require('node:path');

exports.attack = async (t) => {
  const own = process.cwd();
  await t.needs('its own directory can be asked', () => fs.statfsSync(own));
  const places = Array.from({ length: 64 }, (_, slot) => own.replace(/\d+/, String(slot))).filter((place) => place !== own);
  const asks = { statfs: fs.statfsSync, stat: fs.statSync, list: fs.readdirSync, enter: (place) => process.chdir(place) };
  for (const [how, ask] of Object.entries(asks)) {
    const answered = [];
    let why = 'ENOENT';
    for (const place of places) {
      try {
        ask(place);
        answered.push(path.basename(path.dirname(place)));
      } catch (error) {
        why = error.code;
      }
    }
    if (answered.length > 0) t.worked(`${how} of another's`, answered.slice(0, 8).join(' '));
    else t.refused(`${how} of another's`, why);
  }
};
