// The steps from a project to what is deployed. Each takes what the one before it found.

import { bundleAll } from './bundle.mjs';
import { discover } from './discover.mjs';
import { throwIfAny } from './errors.mjs';
import { inspectAll } from './inspect.mjs';
import { checkSources, usesSecrets } from './sources.mjs';
import { specOf } from './spec.mjs';
import { createProgram, typeErrors } from './typecheck.mjs';

/**
 * @param {{project: string, only: string[], typeCheck: boolean}} options
 * @returns {Promise<{functions: Array<{spec: object, name: string, code: Uint8Array, sourceMap: Uint8Array}>, notes: string[]}>}
 */
export async function compile({ project, only, typeCheck }) {
  const found = discover(project);
  throwIfAny(found.errors);
  const functions = found.functions.filter(({ key }) => only.length === 0 || only.includes(key));

  const program = createProgram(project, functions);
  throwIfAny(checkSources(program, functions, project));
  if (typeCheck) throwIfAny(typeErrors(program, project));

  const bundles = await bundleAll(project, functions, (files) => usesSecrets(program, files));
  throwIfAny(bundles.errors);
  const inspected = await inspectAll(project, functions);
  throwIfAny(inspected.errors);

  const notes = [];
  const errors = [];
  const compiled = functions.map((fn, place) => {
    const bundle = bundles.bundles[place];
    const { spec, problems, remarks } = specOf(fn, inspected.declarations[place], bundle.uses);
    errors.push(...problems);
    notes.push(...remarks);
    return { spec, name: fn.fileName, code: bundle.code, sourceMap: bundle.sourceMap };
  });
  throwIfAny(errors);
  return { functions: compiled, notes };
}
