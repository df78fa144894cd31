import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Never lets go of the processor, and has little time. */
export default createAction({
  description: 'Hangs until its time is up',
  input: z.unknown(),
  output: z.unknown(),
  limits: { time_ms: 2_000 },
  exec: async () => {
    for (;;);
  },
});
