import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Waits for what cannot happen: handler_never_settled, at once and not at the time limit. */
export default createAction({
  description: 'Never settles',
  input: z.unknown(),
  output: z.unknown(),
  exec: () => new Promise<never>(() => {}),
});
