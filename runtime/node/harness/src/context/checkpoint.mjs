// Checkpoints: the small durable object from which the next attempt goes on.

const FIELDS_MAX = 16;
const STRING_LENGTH_MAX = 4_000;

/**
 * What is kept of a checkpoint: strings, numbers, booleans; dates as ISO text.
 * @param {unknown} checkpoint
 */
export function flat(checkpoint) {
  if (checkpoint === null || typeof checkpoint !== 'object' || Array.isArray(checkpoint)) {
    throw new TypeError('A checkpoint is an object, such as { page: 3 }');
  }
  const fields = Object.entries(checkpoint).filter(([, value]) => value !== undefined);
  if (fields.length > FIELDS_MAX) {
    throw new TypeError(`A checkpoint has at most ${FIELDS_MAX} fields; this one has ${fields.length}`);
  }
  return Object.fromEntries(fields.map(([name, value]) => [name, flatValue(name, value)]));
}

function flatValue(name, value) {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === 'boolean' || value === null) return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value === 'string' && value.length <= STRING_LENGTH_MAX) return value;
  const what = typeof value === 'string' ? `a string of ${value.length} characters` : typeof value;
  throw new TypeError(
    `Checkpoint field ${name} is ${what}; allowed are strings of at most ${STRING_LENGTH_MAX} characters, ` +
      'finite numbers, booleans and dates. Save records instead, and keep here where to go on',
  );
}

export function checkpointMembers({ calls, interrupted }) {
  let version = null;
  let before = Promise.resolve();
  const read = async () => {
    const answer = await calls.call('checkpoint.get');
    version = answer.version;
    return answer.checkpoint;
  };
  // One after the other: each write names the version that the one before it made.
  const inTurn = (step) => {
    const turn = before.then(step);
    before = turn.catch(() => {});
    return turn;
  };
  const write = async (method, params) => {
    if (version === null) await read();
    const answer = await calls.call(method, { ...params, version });
    version = answer.version;
    return answer;
  };
  return {
    getCheckpoint: () => inTurn(read),
    saveCheckpoint: async (checkpoint) => {
      const params = { checkpoint: flat(checkpoint) };
      const { stop } = await inTurn(() => write('checkpoint.save', params));
      // Past the soft deadline the attempt ends here, whatever the handler would catch: the next goes on from it.
      if (stop) interrupted();
    },
    clearCheckpoint: async () => {
      await inTurn(() => write('checkpoint.clear', {}));
    },
  };
}
