import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Leaves in the middle: a failed result that says so. */
export default createAction({
  description: 'Exits in the middle',
  input: z.unknown(),
  output: z.unknown(),
  exec: async () => {
    console.log('about to exit');
    process.exit(3);
  },
});
