import { createAction } from 'bulkhead';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

/** Takes a long body from an API and gives it one, with less memory than either has bytes. */
export default createAction({
  description: 'Passes long bodies on, piece by piece',
  retry: { max: 1, backoff_ms: 100 },
  // Node.js itself has most of it.
  limits: { memory_mib: 128 },
  input: z.object({
    mib: z.number(),
    stopAfter: z.number().optional(),
    how: z.enum(['stream', 'whole', 'destroyed', 'waiting', 'uploading', 'crashing']).default('stream'),
  }),
  output: z.unknown(),
  exec: async (bulkhead, { mib, stopAfter, how }) => {
    // What is waited for comes from an API that stands still in the middle.
    const params = how === 'stream' || how === 'whole' ? { mib } : { mib, still: 1 };
    if (how === 'uploading' || how === 'crashing') {
      // The attempt after the first has nothing in its way.
      const stuck = bulkhead.attempt === 1 ? how : undefined;
      return (await bulkhead.put({ endpoint: '/sink', data: Readable.from(pieces(mib, stuck)) })).data;
    }
    if (how === 'whole') {
      const refused = await bulkhead.get({ endpoint: '/big', params, responseType: 'arraybuffer' }).catch((error) => error);
      return { code: refused.code, message: refused.message };
    }
    const down = await bulkhead.get({ endpoint: '/big', params, responseType: 'stream' });
    if (how === 'destroyed') {
      await once(down.data, 'data');
      down.data.destroy();
      for (let look = 0; look < 400; look += 1) {
        const { data } = await bulkhead.get({ endpoint: '/sent' });
        if (data.open === 0) return 'let go';
        await sleep(50);
      }
      return 'still open';
    }
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const piece of down.data) {
      hash.update(piece);
      bytes += piece.length;
      // Leaving the loop destroys the stream, and the attempt ends with that.
      if (stopAfter !== undefined && bytes >= stopAfter) return { bytes };
    }
    const up = await bulkhead.put({ endpoint: '/sink', data: Readable.from(pieces(mib)) });
    return { down: { bytes, sha256: hash.digest('hex') }, up: up.data };
  },
});

/** `stuck` before the last: for ever a byte at a time, or dead. */
async function* pieces(mib: number, stuck?: 'uploading' | 'crashing') {
  for (let piece = 0; piece < mib; piece += 1) {
    if (piece === mib - 1 && stuck === 'crashing') process.abort();
    while (piece === mib - 1 && stuck === 'uploading') {
      yield Buffer.alloc(1);
      await sleep(100);
    }
    yield Buffer.alloc(1 << 20, piece);
  }
}
