import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Declares that it needs credentials, and tells everybody. */
export default createAction({
  description: 'Throws what it must not tell',
  input: z.object({ how: z.enum(['error', 'payload']) }),
  output: z.unknown(),
  exec: async (bulkhead, { how }) => {
    const { credentials } = await bulkhead.getConnection();
    const text = JSON.stringify(credentials);
    console.error(credentials, Buffer.from(text).toString('base64'));
    if (how === 'error') throw new Error(`refused: ${text}`, { cause: new Error(encodeURIComponent(credentials.token)) });
    throw new bulkhead.ActionError({ message: `refused: ${credentials.token}`, credentials, [credentials.token]: [text] });
  },
});
