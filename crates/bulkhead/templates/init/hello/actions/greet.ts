import { ActionError, createAction } from 'bulkhead';
import { z } from 'zod';

/** Runs on demand: request and response. Input and output are checked. */
export default createAction({
  description: 'Greets somebody',
  input: z.object({ name: z.string().min(1) }),
  output: z.object({ greeting: z.string() }),

  exec: async (bulkhead, { name }) => {
    // The payload goes to the caller as it is.
    if (name === 'nobody') throw new ActionError({ message: 'There is nobody to greet' });
    await bulkhead.log(`Greeting ${name}`);
    return { greeting: `Hello, ${name}!` };
  },
});
