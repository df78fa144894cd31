const fs = require('node:fs');

exports.attack = (t, { canary }) => {
  fs.symlinkSync(canary, 'out');
  fs.symlinkSync('/', 'root');
  t.try('read through a link', () => fs.readFileSync('out', 'utf8'));
  t.try('list a directory behind a link', () => fs.readdirSync('root/root').concat(fs.readdirSync('root/home')).join(' ') || 'empty');
  t.try('link to a file that is not its own', () => {
    fs.linkSync(process.execPath, 'hard');
    fs.rmSync('hard');
  });
};
