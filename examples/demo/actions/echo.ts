import axios from 'axios';
import { ActionError, createAction } from 'bulkhead';
import { z } from 'zod';

/** Sends a message to an API and returns what came back: once through the proxy that adds credentials, once directly. */
export default createAction({
  description: 'Echoes a message',
  input: z.object({ message: z.string().min(1), direct: z.boolean().default(false) }),
  output: z.object({ message: z.string(), direct: z.string().nullable(), authorized: z.boolean() }),

  exec: async (bulkhead, input) => {
    if (input.message === 'refuse me') throw new ActionError({ message: 'Refused, as asked', asked: input.message });

    const { data } = await bulkhead.post<Echo>({ endpoint: '/echo', data: { message: input.message } });
    await bulkhead.log(`The API echoed ${data.body.message.length} characters`);

    return { message: data.body.message, direct: await directly(input, bulkhead), authorized: data.authorized };
  },
});

interface Echo {
  body: { message: string };
  authorized: boolean;
}

/** The same with axios: it goes through the egress gateway, and no credentials are added. */
async function directly(
  { message, direct }: { message: string; direct: boolean },
  bulkhead: { getIntegration(): Promise<{ base_url: string }> },
): Promise<string | null> {
  if (!direct) return null;
  const { base_url } = await bulkhead.getIntegration();
  const { data } = await axios.post<Echo>(`${base_url}/echo`, { message });
  return data.body.message;
}
