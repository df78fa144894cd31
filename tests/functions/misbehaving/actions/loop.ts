import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Never lets go of the processor: time_limit, or cpu_limit where there is one. */
export default createAction({
  description: 'Loops forever',
  input: z.unknown(),
  output: z.unknown(),
  limits: { time_ms: 2_000 },
  exec: async () => {
    for (;;);
  },
});
