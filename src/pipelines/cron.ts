import { Cron } from 'croner';
import { quoted } from '../errors.ts';

const nicknames = /^@(yearly|annually|monthly|weekly|daily|midnight|hourly)$/i;
const longest = 200;

/**
 * The next dates of a schedule, after a moment. On the day when clocks go forward a time that does not exist is the first one behind the gap;
 * when they go back a time that comes twice counts once, the first.
 * @param cron five fields (minute, hour, day of month, month, day of week) or a nickname as `@daily`.
 * @param timeZone of the IANA database, as `Europe/Berlin`.
 * @returns at most `count`; fewer when there are no more.
 * @throws what croner throws for a schedule that {@link cronProblem} finds fault with.
 */
export function nextDates(cron: string, timeZone: string, after: Date, count: number): Date[] {
  return new Cron(cron, { mode: '5-part', timezone: timeZone }).nextRuns(count, after);
}

/** What is wrong with a time zone. Undefined: nothing. */
export function timeZoneProblem(timeZone: string): string | undefined {
  try {
    new Intl.DateTimeFormat('en', { timeZone });
    // An offset names no place, and knows no summer.
    if (!/^[+-]/.test(timeZone)) return undefined;
  } catch {}
  return `${quoted(timeZone)} is no time zone of the IANA database, as Europe/Berlin or UTC`;
}

/** What is wrong with a schedule. Undefined: nothing. */
export function cronProblem(cron: string): string | undefined {
  const allowed =
    'five fields (minute, hour, day of month, month, day of week), as "30 6 * * MON-FRI", or @daily and the like';
  if (cron.length > longest || !(nicknames.test(cron.trim()) || cron.trim().split(/\s+/).length === 5))
    return `must be ${allowed}`;
  try {
    return nextDates(cron, 'UTC', new Date(), 1).length === 0 ? 'names a date that never comes' : undefined;
  } catch (error) {
    const reason = (error as Error).message.replace(/^Cron\w*: /, '');
    return `must be ${allowed}; ${reason}`;
  }
}
