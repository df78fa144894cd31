import fs from 'node:fs';
import { createAction } from 'bulkhead';
import { z } from 'zod';

/** Writes until there is no space: disk_limit. */
export default createAction({
  description: 'Fills the disk',
  input: z.unknown(),
  output: z.unknown(),
  limits: { scratch_mib: 16, time_ms: 30_000 },
  exec: async () => {
    const piece = Buffer.alloc(1 << 20, 1);
    const file = fs.openSync('filler', 'w');
    for (;;) fs.writeSync(file, piece);
  },
});
