import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Waits until it is told to stop, or until it is killed. */
export default createAction({
  description: 'Waits to be cancelled',
  input: z.object({ listen: z.boolean().default(true) }).nullish(),
  output: z.unknown(),
  exec: (bulkhead, input) =>
    new Promise((_, reject) => {
      setTimeout(() => {}, 600_000);
      if (input?.listen !== false) bulkhead.signal.addEventListener('abort', () => reject(bulkhead.signal.reason));
    }),
});
