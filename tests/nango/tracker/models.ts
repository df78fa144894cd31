import { z } from 'zod';

export const Task = z.object({
    id: z.string(),
    title: z.string(),
    done: z.boolean(),
    assignee: z.union([z.string(), z.null()]),
    updatedAt: z.string()
});
export type Task = z.infer<typeof Task>;

export const ProviderTask = z.object({
    gid: z.string(),
    name: z.string(),
    completed: z.boolean(),
    assignee: z.object({ gid: z.string() }).nullable(),
    modified_at: z.string()
});
export type ProviderTask = z.infer<typeof ProviderTask>;
