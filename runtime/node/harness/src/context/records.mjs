// Records that a sync saves.

const BATCH_MAX = 1_000;
/** Bytes of one call's records, leaving room below the limit of a Call for the rest of it. */
const BATCH_BYTES_MAX = 6 * 1024 * 1024;

/**
 * Refuses what could not be told apart later: records without an id, or two with the same one.
 * @param {unknown} records @param {string} model
 */
export function checkBatch(records, model) {
  if (!Array.isArray(records)) throw new TypeError(`Records of ${model} must be an array`);
  const seen = new Set();
  for (const [place, record] of records.entries()) {
    const id = record?.id;
    if ((typeof id !== 'string' && typeof id !== 'number') || id === '') {
      throw new TypeError(`Record ${place} of ${model} has no id; nothing of the batch was saved`);
    }
    if (seen.has(String(id))) {
      throw new TypeError(`Two records of ${model} have the id ${id}; nothing of the batch was saved`);
    }
    seen.add(String(id));
  }
}

/**
 * Cuts a batch into what fits into one call each, in order.
 * @param {Array<object>} records
 */
export function chunks(records, countMax = BATCH_MAX, bytesMax = BATCH_BYTES_MAX) {
  const cut = [];
  let chunk = [];
  let bytes = 0;
  for (const record of records) {
    const size = Buffer.byteLength(JSON.stringify(record)) + 1;
    if (chunk.length > 0 && (chunk.length === countMax || bytes + size > bytesMax)) {
      cut.push(chunk);
      chunk = [];
      bytes = 0;
    }
    chunk.push(record);
    bytes += size;
  }
  if (chunk.length > 0) cut.push(chunk);
  return cut;
}

export function recordMembers({ calls, definition }) {
  const write = (method) => async (records, model) => {
    checkModel(definition, model);
    checkBatch(records, model);
    for (const chunk of chunks(records)) await calls.call(method, { model, records: chunk });
    return true;
  };
  const batchSave = write('records.save');
  const written = new Set();
  const chosen = new Set();
  const noting = (batch) => (records, model) => {
    written.add(model);
    return batch(records, model);
  };
  return {
    batchSave: noting(batchSave),
    batchSend: noting(batchSave),
    batchUpdate: noting(write('records.update')),
    batchDelete: noting(write('records.delete')),
    getRecordsByIds: (ids, model) => recordsByIds(calls, ids, model),
    listRecords: (model, options) => listRecords(calls, model, options),
    trackDeletesStart: async (model) => {
      await calls.call('records.trackDeletesStart', { model });
    },
    trackDeletesEnd: (model) => calls.call('records.trackDeletesEnd', { model }),
    deleteRecordsFromPreviousExecutions: (model) => calls.call('records.deleteUnseen', { model }),
    setMergingStrategy: async ({ strategy }, model) => {
      if (written.has(model)) throw new Error(`setMergingStrategy for ${model} must come before its first batch`);
      if (chosen.has(model)) throw new Error(`The merging strategy of ${model} is set already; it is set once`);
      chosen.add(model);
      await calls.call('records.setMergingStrategy', { model, strategy });
    },
  };
}

function checkModel(definition, model) {
  const declared = Object.keys(definition.models ?? {});
  if (declared.length === 0 || declared.includes(model)) return;
  throw new TypeError(`Model ${model} is not declared; this function's models are ${declared.join(', ')}`);
}

async function recordsByIds(calls, ids, model) {
  const found = new Map();
  for (let at = 0; at < ids.length; at += BATCH_MAX) {
    const some = ids.slice(at, at + BATCH_MAX);
    const { records } = await calls.call('records.get', { model, ids: some.map(String) });
    const byId = new Map(records.map((record) => [String(record.id), record]));
    // Under the ids that were asked for: a number stays a number.
    for (const id of some) if (byId.has(String(id))) found.set(id, byId.get(String(id)));
  }
  return found;
}

async function* listRecords(calls, model, { cursor } = {}) {
  let at = cursor;
  do {
    const { records, nextCursor } = await calls.call('records.list', { model, cursor: at });
    yield* records;
    at = nextCursor;
  } while (at);
}
