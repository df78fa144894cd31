import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Returns more than allowed: output_too_large. */
export default createAction({
  description: 'Returns too much',
  input: z.unknown(),
  output: z.unknown(),
  limits: { output_bytes: 10_000 },
  exec: async () => 'x'.repeat(20_000),
});
