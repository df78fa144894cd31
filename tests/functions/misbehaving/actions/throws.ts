import { ActionError, createAction } from 'bulkhead';
import { z } from 'zod';

/** Throws in the way it is told to. */
export default createAction({
  description: 'Throws',
  input: z.object({ how: z.enum(['error', 'action_error', 'text', 'later', 'rejection', 'upstream']) }),
  output: z.unknown(),
  exec: async (bulkhead, { how }) => {
    if (how === 'error') throw new TypeError('thrown on purpose');
    if (how === 'action_error') throw new ActionError({ reason: 'on purpose', detail: [1, 2] });
    if (how === 'text') throw 'only text';
    if (how === 'upstream') return bulkhead.get({ endpoint: '/nowhere' });
    if (how === 'later') setTimeout(() => { throw new Error('thrown later'); }, 1);
    if (how === 'rejection') void Promise.reject(new Error('rejected by nobody'));
    return new Promise((resolve) => setTimeout(resolve, 1_000));
  },
});
