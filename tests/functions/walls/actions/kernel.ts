import { readFileSync } from 'node:fs';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Says which kernel it sees: behind the process wall there is no such file. */
export default createAction({
  description: 'Which kernel',
  input: z.unknown(),
  output: z.unknown(),
  exec: async () => {
    try {
      return readFileSync('/proc/version', 'utf8');
    } catch (error) {
      return (error as NodeJS.ErrnoException).code;
    }
  },
});
