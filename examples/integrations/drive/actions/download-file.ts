import { createHash } from 'node:crypto';
import { ActionError, createAction } from 'bulkhead';
import { z } from 'zod';

/** An output has at most 6 MiB of JSON, and base64 takes four characters for three bytes. */
const BYTES_MAX = 4 * 1024 * 1024;

/** A file, by way of the proxy that adds credentials: bytes in, base64 out. */
export default createAction({
  description: 'Downloads a file',
  input: z.object({ id: z.string().min(1) }),
  output: z.object({ name: z.string(), type: z.string(), sha256: z.string(), base64: z.string() }),

  exec: async (bulkhead, { id }) => {
    const file = await bulkhead.get<{ name: string; size: number }>({ endpoint: `/files/${encodeURIComponent(id)}`, retries: 3 });
    if (file.data.size > BYTES_MAX) {
      throw new ActionError({ message: `The file has ${file.data.size} bytes, at most ${BYTES_MAX} can be returned` });
    }
    const content = await bulkhead.get<Buffer>({
      endpoint: `/files/${encodeURIComponent(id)}/content`,
      responseType: 'arraybuffer',
      retries: 3,
    });
    const bytes = Buffer.from(content.data);
    return {
      name: file.data.name,
      type: content.headers['content-type'] ?? 'application/octet-stream',
      sha256: createHash('sha256').update(bytes).digest('hex'),
      base64: bytes.toString('base64'),
    };
  },
});
