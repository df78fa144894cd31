import { createAction } from 'nango';
import { z } from 'zod';

const Project = z.object({ id: z.string(), name: z.string() });

/** Says nothing of how the provider pages: that is known. */
export default createAction({
    description: 'Lists the projects of a workspace',
    version: '1.0.0',
    endpoint: { method: 'GET', path: '/tracker/projects', group: 'Projects' },
    input: z.object({ workspace: z.string() }),
    output: z.object({ projects: z.array(Project) }),
    scopes: ['projects:read'],

    exec: async (nango, input) => {
        const projects: z.infer<typeof Project>[] = [];
        for await (const page of nango.paginate<{ gid: string; name: string }>({
            endpoint: '/api/1.0/projects',
            params: { workspace: input.workspace },
            retries: 10
        })) {
            projects.push(...page.map(({ gid, name }) => ({ id: gid, name })));
        }
        return { projects };
    }
});
