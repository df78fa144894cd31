import axios from 'axios';
import { setTimeout } from 'node:timers/promises';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Sleeps: what is measured is what a waiting execution keeps. */
export default createAction({
  description: 'Sleeps for some milliseconds',
  input: z.object({ ms: z.number().max(600_000) }),
  output: z.object({ slept: z.number(), axios: z.string() }),
  exec: async (bulkhead, { ms }) => {
    await setTimeout(ms, undefined, { signal: bulkhead.signal });
    return { slept: ms, axios: axios.VERSION };
  },
});
