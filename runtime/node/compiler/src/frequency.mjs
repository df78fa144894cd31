// Whether a frequency is one. The server reads it for good; this tells the author before the deploy. Pure.

const SECONDS = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };
const UNITS = {
  s: 's', sec: 's', secs: 's', second: 's', seconds: 's',
  m: 'm', min: 'm', mins: 'm', minute: 'm', minutes: 'm',
  h: 'h', hr: 'h', hrs: 'h', hour: 'h', hours: 'h',
  d: 'd', day: 'd', days: 'd',
  w: 'w', week: 'w', weeks: 'w',
};
const MONTH_SECONDS = 30 * 86_400;
const SECONDS_MIN = 30;
const SECONDS_MAX = 31 * 86_400;
const FRACTIONS = { half: 1 / 2, quarter: 1 / 4 };
/** A field of a cron rule: names and numbers, lists, ranges, steps. */
const FIELD = /^[0-9A-Za-z*?/,#\-]+$/;

function unitSeconds(word) {
  return word === 'month' ? MONTH_SECONDS : SECONDS[UNITS[word]];
}

/** Seconds between runs, or undefined. */
export function intervalSeconds(text) {
  const words = text.toLowerCase().trim().split(/\s+/);
  if (words.shift() !== 'every') return undefined;
  if (words.length === 1) {
    const [, count, unit] = /^(\d*)([a-z]+)$/.exec(words[0]) ?? [];
    return unit === undefined ? undefined : (count === '' ? 1 : Number(count)) * unitSeconds(unit);
  }
  if (words.length !== 2) return undefined;
  const [count, unit] = words;
  if (count in FRACTIONS) return FRACTIONS[count] * unitSeconds(unit);
  return /^\d+$/.test(count) ? Number(count) * unitSeconds(unit) : undefined;
}

/** What is wrong with it, or null. */
export function frequencyError(text) {
  if (typeof text !== 'string') return `The frequency is ${JSON.stringify(text)}, not text`;
  if (text.startsWith('cron:')) return cronError(text.slice('cron:'.length).trim());
  const seconds = intervalSeconds(text);
  if (seconds === undefined || Number.isNaN(seconds)) return `"${text}" is no frequency`;
  if (seconds < SECONDS_MIN || seconds > SECONDS_MAX) {
    return `"${text}" is out of bounds: 30 seconds is the shortest frequency, 31 days the longest`;
  }
  return null;
}

function cronError(rule) {
  const fields = rule.split(/\s+/);
  const zone = fields.length === 6 ? fields.pop() : undefined;
  if (fields.length !== 5 || !fields.every((field) => FIELD.test(field))) {
    return `"${rule}" is no cron rule: minute, hour, day, month, weekday, and a time zone if it is not UTC`;
  }
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone ?? 'UTC' });
  } catch {
    return `"${zone}" is no time zone`;
  }
  return null;
}
