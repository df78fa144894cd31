// Where the compiler's own parts are.

import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** runtime/node. */
export const RUNTIME = fileURLToPath(new URL('../..', import.meta.url));
/** What 'bulkhead' and 'nango' resolve to. */
export const SDK = path.join(RUNTIME, 'sdk/index.js');
export const SDK_TYPES = path.join(RUNTIME, 'sdk/index.d.ts');
/** Packages that a project need not install: zod, and the types of Node. */
export const OWN_MODULES = path.join(RUNTIME, 'node_modules');
/** Names of the SDK: ours, and the one that existing functions import. */
export const SDK_NAMES = ['bulkhead', 'nango'];
