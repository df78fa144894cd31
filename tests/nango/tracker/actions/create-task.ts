import { createAction } from 'nango';
import type { ProxyConfiguration } from 'nango';
import { z } from 'zod';
import { ProviderTask, Task } from '../models.js';

const CreateTaskInput = z.object({
    projectId: z.string(),
    title: z.string().min(1),
    assignee: z.string().optional()
});

const action = createAction({
    description: 'Creates a task',
    version: '1.0.2',
    endpoint: { method: 'POST', path: '/tracker/tasks', group: 'Tasks' },
    input: CreateTaskInput,
    output: Task,
    scopes: ['tasks:write'],

    exec: async (nango, input): Promise<Task> => {
        const { data: parsed } = await nango.zodValidateInput({ zodSchema: CreateTaskInput, input });

        const config: ProxyConfiguration = {
            endpoint: '/api/1.0/tasks',
            data: { data: { name: parsed.title, projects: [parsed.projectId], assignee: parsed.assignee ?? null } },
            headers: { 'content-type': 'application/json' },
            retries: 3
        };

        let response;
        try {
            response = await nango.post(config);
        } catch (err: any) {
            if (err.response?.status === 404) {
                throw new nango.ActionError({ type: 'not_found', message: 'There is no such project', projectId: parsed.projectId });
            }
            throw err;
        }

        const validated = ProviderTask.safeParse(response.data.data);
        if (!validated.success) {
            throw new nango.ActionError({ type: 'unexpected_response', issues: validated.error.issues });
        }
        const task = validated.data;
        return { id: task.gid, title: task.name, done: task.completed, assignee: task.assignee?.gid ?? null, updatedAt: task.modified_at };
    }
});

export type NangoActionLocal = Parameters<(typeof action)['exec']>[0];
export default action;
