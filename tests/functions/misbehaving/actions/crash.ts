import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Dies a native death: crashed. What it logged before is there. */
export default createAction({
  description: 'Crashes',
  input: z.unknown(),
  output: z.unknown(),
  exec: async () => {
    console.log('about to crash');
    process.abort();
  },
});
