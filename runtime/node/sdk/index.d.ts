/**
 * Write functions that Bulkhead runs.
 *
 * ```ts
 * import { createAction } from 'bulkhead';
 * import { z } from 'zod';
 *
 * export default createAction({
 *   description: 'Creates an issue',
 *   input: z.object({ title: z.string() }),
 *   output: z.object({ id: z.string() }),
 *   exec: async (bulkhead, { title }) => {
 *     const { data } = await bulkhead.post<{ id: string }>({ endpoint: '/issues', data: { title } });
 *     return { id: data.id };
 *   },
 * });
 * ```
 */
export * from './types/functions.js';
export * from './types/context.js';
export * from './types/proxy.js';
export * from './types/schema.js';
