// What a function file imports. A function is its declaration: the runtime reads it, and calls its handler with a
// context object that lives outside the bundle.

/** Marks an ActionError for the runtime, which has a class of its own. */
const ACTION_ERROR = Symbol.for('bulkhead.ActionError');

const declare = (type) => (declaration) => ({ ...declaration, type });

export const createAction = declare('action');
export const createSync = declare('sync');
export const createWebhook = declare('webhook');
export const createOnEvent = declare('event');

export class ActionError extends Error {
  constructor(payload) {
    super(typeof payload?.message === 'string' ? payload.message : 'The function threw an ActionError');
    this.name = 'ActionError';
    this.payload = payload ?? {};
    Object.defineProperty(this, ACTION_ERROR, { value: true });
  }

  static [Symbol.hasInstance](value) {
    if (this !== ActionError) return Function.prototype[Symbol.hasInstance].call(this, value);
    return value?.[ACTION_ERROR] === true;
  }
}
