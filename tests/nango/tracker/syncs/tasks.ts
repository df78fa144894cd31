import { createSync } from 'nango';
import type { NangoSync, ProxyConfiguration } from 'nango';
import { z } from 'zod';
import { ProviderTask, Task } from '../models.js';

const Metadata = z.object({ projectId: z.string() });
const Checkpoint = z.object({ updatedAfter: z.string() });

const sync = createSync({
    description: 'Fetches the tasks of a project, those that changed since the last time',
    version: '2.0.1',
    frequency: 'every hour',
    autoStart: false,
    endpoints: [{ method: 'GET', path: '/tracker/tasks', group: 'Tasks' }],
    syncType: 'incremental',
    scopes: ['tasks:read'],
    checkpoint: Checkpoint,
    metadata: Metadata,
    models: { Task },

    exec: async (nango) => {
        const metadata = await nango.getMetadata();
        if (!metadata.projectId) {
            throw new nango.ActionError({ type: 'missing_metadata', message: 'projectId is required' });
        }
        const checkpoint = await nango.getCheckpoint();

        const proxyConfig: ProxyConfiguration = {
            // the provider's list of tasks
            endpoint: `/api/1.0/projects/${metadata.projectId}/tasks`,
            params: {
                opt_fields: ['name', 'completed', 'assignee', 'modified_at'].join(','),
                ...(checkpoint?.updatedAfter ? { modified_since: checkpoint.updatedAfter } : {})
            },
            paginate: {
                type: 'cursor',
                cursor_path_in_response: 'next_page.offset',
                cursor_name_in_request: 'offset',
                limit_name_in_request: 'limit',
                limit: 2,
                response_path: 'data'
            },
            retries: 3
        };

        let latest = checkpoint?.updatedAfter;
        for await (const page of nango.paginate(proxyConfig)) {
            const parsed = z.array(ProviderTask).parse(page);
            const tasks = parsed.map(mapTask);
            await nango.batchSave(tasks, 'Task');

            const last = tasks[tasks.length - 1];
            if (last) {
                latest = last.updatedAt;
                await nango.saveCheckpoint({ updatedAfter: last.updatedAt });
            }
        }
        await nango.log(`Synced up to ${latest}`, { level: 'info' });
    }
});

export type NangoSyncLocal = Parameters<(typeof sync)['exec']>[0];
export default sync;

export type AnySync = NangoSync;

function mapTask(task: ProviderTask): Task {
    return {
        id: task.gid,
        title: task.name,
        done: task.completed,
        assignee: task.assignee?.gid ?? null,
        updatedAt: task.modified_at
    };
}
