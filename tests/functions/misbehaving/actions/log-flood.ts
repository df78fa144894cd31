import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Logs far more than is kept: the log is cut with a marker, and the run goes on to its end. */
export default createAction({
  description: 'Floods the log',
  input: z.object({ lines: z.number().default(200_000) }).nullish(),
  output: z.object({ logged: z.number() }),
  limits: { log_lines: 1_000, log_bytes: 100_000 },
  exec: async (_, input) => {
    const lines = input?.lines ?? 200_000;
    for (let n = 0; n < lines; n++) console.log(`line ${n} ${'x'.repeat(80)}`);
    return { logged: lines };
  },
});
