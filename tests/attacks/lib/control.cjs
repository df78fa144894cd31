// Runs an attack with nothing around it: `node control.cjs BUNDLE INPUT…`, one phase per input, all in one process.
// Prints what each run returned, as a JSON array.
'use strict';
const http = require('node:http');
const [, , bundle, ...inputs] = process.argv;
const definition = require(bundle);

async function main() {
  // What the audit's own server offers in its place: an API on loopback.
  const server = http.createServer((request, response) => {
    if (request.url.startsWith('/hop/')) return response.writeHead(302, { location: request.url.slice(5) }).end();
    return response.end('reached');
  });
  const host = process.env.WORLD ? '::' : '127.0.0.1';
  await new Promise((done) => server.listen(process.env.WORLD ? 80 : 0, host, done));
  const { port } = server.address();
  const answers = [];
  for (const text of inputs) {
    const input = { ...JSON.parse(text), native: true, allowed: port, forbidden: port };
    answers.push(await definition.exec({}, input));
  }
  process.stdout.write(`${JSON.stringify(answers)}\n`, () => process.exit(0));
}

main().catch((error) => {
  process.stdout.write(`${JSON.stringify({ error: String(error?.stack ?? error) })}\n`, () => process.exit(1));
});
