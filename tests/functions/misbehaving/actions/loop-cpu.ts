import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Uses up its CPU time long before its wall time: cpu_limit. */
export default createAction({
  description: 'Loops forever under a CPU limit',
  input: z.unknown(),
  output: z.unknown(),
  limits: { time_ms: 60_000, cpu_ms: 500 },
  exec: async () => {
    for (;;);
  },
});
