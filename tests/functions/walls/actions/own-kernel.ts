import { readFileSync } from 'node:fs';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** The same, and asks for a kernel of its own, in a fresh compartment for each execution. */
export default createAction({
  description: 'Which kernel, behind gVisor',
  wall: 'gvisor',
  isolation: 'compartment',
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
