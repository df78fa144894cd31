import { createAction } from 'bulkhead';
import fs from 'node:fs';
import v8 from 'node:v8';
import { z } from 'zod';

const REACHABLE = 512 << 20;

/** How each of them begins. */
const BEGIN = 'c4n4ry';

/** Looks everywhere for what begins like a canary: in what it is told, and in all memory of its own. */
export default createAction({
  description: 'Looks for credentials that it does not declare',
  input: z.object({ integrations: z.array(z.string()) }),
  output: z.unknown(),
  exec: async (bulkhead, { integrations }) => {
    const seen: Record<string, unknown> = { environment: process.env, arguments: process.argv };
    for (const providerConfigKey of integrations) {
      // What the API sends back of what it was sent, as an answer and as an error.
      for (const endpoint of ['/mirror', '/refuse']) {
        const call = { endpoint, providerConfigKey, connectionId: 'c1', responseType: 'text' as const };
        const answer = await bulkhead.get(call).catch((error) => error);
        seen[`${providerConfigKey} ${endpoint}`] = { data: answer.data ?? answer.response?.data, text: String(answer.stack ?? ''), headers: answer.headers ?? answer.response?.headers };
      }
      // Not in a way that the compiler would see.
      const name = ['get', 'Connection'].join('');
      const ask = (bulkhead as any)[name].bind(bulkhead);
      seen[`${providerConfigKey} connection`] = await ask(providerConfigKey, 'c1').catch((error: Error) => String(error));
    }
    await bulkhead.log(JSON.stringify(seen));
    console.log(seen);
    return { seen, memory: await memory() };
  },
});

/** How much of its own memory was read, and what of it looks like a canary: all of it if the sandbox lets, else the heap. */
async function memory() {
  const found: string[] = [];
  let bytes = 0;
  const look = (piece: Buffer) => {
    bytes += piece.length;
    for (let at = piece.indexOf(BEGIN); at >= 0; at = piece.indexOf(BEGIN, at + 1)) {
      const text = piece.toString('latin1', at, at + BEGIN.length + 16);
      if (/^[a-z0-9]{6}[0-9a-f]{16}$/.test(text)) found.push(text);
    }
  };
  try {
    const file = fs.openSync('/proc/self/mem', 'r');
    const page = Buffer.alloc(256 << 10);
    for (const line of fs.readFileSync('/proc/self/maps', 'utf8').split('\n')) {
      const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? [];
      for (let at = parseInt(from ?? '0', 16); at < parseInt(to ?? '0', 16) && bytes < REACHABLE; at += page.length) {
        try {
          look(page.subarray(0, fs.readSync(file, page, 0, page.length, at)));
        } catch {
          // Reserved, and not there.
        }
      }
    }
    return { bytes, found, of: 'process' };
  } catch (error) {
    for await (const piece of v8.getHeapSnapshot()) look(Buffer.from(piece));
    return { bytes, found, of: 'heap', error: String(error) };
  }
}
