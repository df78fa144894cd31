import { setTimeout } from 'node:timers/promises';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Works for a while; tells what it was given, and which attempt did it. */
export default createAction({
  description: 'Works for some milliseconds',
  input: z.object({ n: z.number(), ms: z.number() }),
  output: z.object({ n: z.number(), attempt: z.number() }),
  exec: async (bulkhead, { n, ms }) => {
    await setTimeout(ms);
    return { n, attempt: bulkhead.attempt };
  },
});
