// What is wrong with a project, for its author: where, what, and what to do.

/**
 * @typedef {{code: string, file?: string, line?: number, column?: number, message: string, todo?: string}} Finding
 */

/** Carries findings to the edge. */
export class CompileError extends Error {
  /** @param {Finding[]} errors at least one */
  constructor(errors) {
    super(errors.map(({ message }) => message).join('\n'));
    this.errors = errors;
  }
}

/** @returns {Finding} */
export function internalError(message) {
  return { code: 'compiler', message, todo: 'See --help of the command that called the compiler, or report this' };
}

/** Throws when there is anything to tell. */
export function throwIfAny(errors) {
  if (errors.length > 0) throw new CompileError(errors);
}
