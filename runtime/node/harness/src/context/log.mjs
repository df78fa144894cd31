// nango.log, nango.setLogger and zodValidateInput.

import { formatWithOptions } from 'node:util';
import { ActionError } from './errors.mjs';

const LEVELS = ['debug', 'info', 'warn', 'error'];

function levelOf(name) {
  if (name === 'warning') return 'warn';
  return LEVELS.includes(name) ? name : 'info';
}

/** `log(…, { level: 'warn' })`: a last argument with a level and nothing else sets the level. */
function splitOptions(args) {
  const last = args.at(-1);
  const isOptions =
    args.length > 1 && last !== null && typeof last === 'object' && Object.keys(last).join() === 'level';
  return isOptions ? [args.slice(0, -1), levelOf(last.level)] : [args, 'info'];
}

export function logMembers({ logs }) {
  const logger = { level: 'debug' };
  const log = async (...args) => {
    const [values, level] = splitOptions(args);
    if (logger.level === 'off' || LEVELS.indexOf(level) < LEVELS.indexOf(logger.level)) return;
    logs.add(level, formatWithOptions({ colors: false, depth: 6 }, ...values));
  };
  return {
    logger,
    log,
    setLogger({ level }) {
      logger.level = level === 'off' ? 'off' : levelOf(level);
    },
    async zodValidateInput({ zodSchema, input }) {
      const parsed = await zodSchema.safeParseAsync(input);
      if (parsed.success) return parsed;
      for (const issue of parsed.error.issues) {
        await log(`Invalid input at ${issue.path.join('.') || '(root)'}: ${issue.message}`, { level: 'error' });
      }
      throw new ActionError({ message: 'Invalid input', issues: parsed.error.issues });
    },
  };
}
