// Two ways to esbuild: once, or again and again with what did not change kept in memory. Both take a function that makes
// {options, state} — state is what plugins write down — and give {result, state}.

import { build, context } from 'esbuild';

/** Builds that are kept alive: each holds every file that it has read, parsed. */
const KEPT_MAX = 16;

/** Builds once. */
export async function once(_, make) {
  const { options, state } = make();
  return { result: await build(options), state };
}

/**
 * Builds again under the same name what was built under it before. What was not asked for the longest is forgotten.
 * `forget` goes with the compiler, which ends with the process: esbuild's own ends with that.
 */
export function keeping(keptMax = KEPT_MAX) {
  const kept = new Map();
  return async (name, make) => {
    let one = kept.get(name);
    kept.delete(name);
    if (one === undefined) {
      const { options, state } = make();
      one = { context: await context(options), state };
    }
    kept.set(name, one);
    for (const [oldest, { context: unused }] of kept) {
      if (kept.size <= keptMax) break;
      kept.delete(oldest);
      await unused.dispose();
    }
    one.state.clear();
    return { result: await one.context.rebuild(), state: one.state };
  };
}
