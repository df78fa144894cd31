import axios from 'axios';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Does nothing, with a bundle of ordinary size: what is measured is the way there and back. */
export default createAction({
  description: 'Returns its input',
  input: z.object({ n: z.number().optional() }).nullish(),
  output: z.object({ n: z.number(), axios: z.string() }),
  exec: async (_, input) => ({ n: input?.n ?? 0, axios: axios.VERSION }),
});
