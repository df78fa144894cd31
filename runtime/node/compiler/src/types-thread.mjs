// Types and what else takes them, checked in a thread of its own: each message is the functions there are, each answer
// the findings. What did not change since the last time is not parsed again.

import { parentPort, workerData } from 'node:worker_threads';
import { internalError } from './errors.mjs';
import { checkSources } from './sources.mjs';
import { createProgram, typeErrors } from './typecheck.mjs';

const { project } = workerData;
let program;

parentPort.on('message', (functions) => {
  try {
    program = createProgram(project, functions, program);
    parentPort.postMessage([...checkSources(program, functions, project), ...typeErrors(program, project)]);
  } catch (error) {
    parentPort.postMessage([internalError(String(error?.stack ?? error))]);
  }
});
