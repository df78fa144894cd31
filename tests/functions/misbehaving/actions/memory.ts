import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Eats memory outside of the JavaScript heap, every page touched: out_of_memory. */
export default createAction({
  description: 'Eats memory',
  input: z.unknown(),
  output: z.unknown(),
  limits: { memory_mib: 128, time_ms: 30_000 },
  exec: async () => {
    const kept: Buffer[] = [];
    for (;;) kept.push(Buffer.alloc(8 << 20, 1));
  },
});
