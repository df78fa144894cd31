// An API of long bodies: GET /big?mib=N has so many (and with still=1 says them, and stands still after the first bytes),
// PUT /sink takes them, GET /sent says how much of the former was sent, how many are being sent, and of the latter how many
// are being taken, came to their end, and broke off before, and how much of them came.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';

let sent = 0;
let open = 0;
const taken = { open: 0, whole: 0, broken: 0, bytes: 0 };

const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://api');
  const say = (value) => response.setHeader('content-type', 'application/json').end(JSON.stringify(value));
  if (url.pathname === '/sent') return say({ sent, open, taken });
  if (url.pathname === '/sink') {
    const hash = createHash('sha256');
    let bytes = 0;
    taken.open += 1;
    try {
      for await (const piece of request) {
        hash.update(piece);
        bytes += piece.length;
        taken.bytes += piece.length;
      }
      taken.whole += 1;
    } catch {
      taken.broken += 1;
      return undefined;
    } finally {
      taken.open -= 1;
    }
    return say({ bytes, sha256: hash.digest('hex') });
  }
  const mib = Number(url.searchParams.get('mib'));
  // Four gigabytes are more than 32 bits: no shift.
  response.setHeader('content-length', mib * 2 ** 20);
  open += 1;
  response.once('close', () => (open -= 1));
  if (url.searchParams.has('still')) return response.write(Buffer.alloc(64 << 10));
  for (let piece = 0; piece < mib && !response.destroyed; piece += 1) {
    sent += 1 << 20;
    if (!response.write(Buffer.alloc(1 << 20, piece))) await Promise.race([once(response, 'drain'), once(response, 'close')]);
  }
  response.end();
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
process.stdin.resume().on('end', () => process.exit());
