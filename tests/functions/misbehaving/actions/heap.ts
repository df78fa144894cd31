import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Eats the JavaScript heap: out_of_memory, whoever notices first. */
export default createAction({
  description: 'Eats the JavaScript heap',
  input: z.unknown(),
  output: z.unknown(),
  limits: { memory_mib: 128, time_ms: 60_000 },
  exec: async () => {
    const kept: object[] = [];
    for (let n = 0; ; n++) kept.push({ n, text: `${n}`.repeat(8) });
  },
});
