import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Returns what it is given. */
export default createAction({
  description: 'Returns its input',
  input: z.unknown(),
  output: z.unknown(),
  exec: async (_, input) => input,
});
