// Bundles the harness into one CommonJS file: node runtime/node/harness/build.mjs [--out FILE]

import { build } from 'esbuild';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const flag = process.argv.indexOf('--out');
const outfile = flag > 0 ? process.argv[flag + 1] : `${here}dist/zygote.js`;

await build({
  entryPoints: [`${here}src/zygote.mjs`],
  outfile,
  absWorkingDir: here,
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  legalComments: 'none',
  logLevel: 'warning',
});
