import fs from 'node:fs';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Makes files until there is no room for one more: disk_limit. */
export default createAction({
  description: 'Uses up the files',
  input: z.unknown(),
  output: z.unknown(),
  limits: { scratch_inodes: 1_000, time_ms: 30_000 },
  exec: async () => {
    for (let n = 0; ; n++) fs.writeFileSync(`file-${n}`, '');
  },
});
