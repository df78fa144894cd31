import { createAction } from 'nango';
import { z } from 'zod';

export default createAction({
    description: 'Deletes a task',
    version: '1.0.0',
    input: z.object({ id: z.string() }),
    output: z.object({ success: z.boolean() }),

    exec: async (nango, input) => {
        const connection = await nango.getConnection();
        const workspace = connection.connection_config['workspace'];
        const response = await nango.proxy({ method: 'DELETE', endpoint: `/api/1.0/workspaces/${workspace}/tasks/${input.id}`, retries: 3 });
        return { success: response.status === 204 };
    }
});
