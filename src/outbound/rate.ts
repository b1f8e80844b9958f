import { setTimeout as pause } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { AdapterFailure } from '../sdk/index.ts';

/** The rate that one credential is held to, by all processes together. */
export interface Rate {
  /**
   * Resolves when it is this request's turn, in the order of the calls. A turn whose signal aborts is lost.
   * @throws AdapterFailure of class rate_limited, at once, when it would take longer than 5 s; and the signal's reason.
   */
  turn(signal: AbortSignal): Promise<void>;
}

const longestWaitMs = 5_000;
/** While Redis is away a process cannot count the others' requests: it keeps to this share. */
const shareAlone = 0.25;
/** A Redis that does not answer by then is away, and is asked again after the next time span. */
const answersWithinMs = 500;
const awayForMs = 1_000;

/**
 * At most `perSecond` requests begin within any second, and a request waits no longer than that asks for: Redis keeps the
 * times of the last turns, and the next one comes a window after the one that stands as many places before it. Fractions are rates too:
 * 0.5 is one every two seconds.
 */
export function openRate(redis: Redis, key: string, perSecond: number): Rate {
  const alone = turnsHere(windowOf(perSecond * shareAlone));
  const { turns, windowMs } = windowOf(perSecond);
  let awayUntilMs = 0;

  /** How long until the turn; more than the longest wait: there is none. */
  async function reserve(): Promise<number> {
    if (redis.status !== 'ready' || performance.now() < awayUntilMs) return alone();
    const stop = new AbortController();
    try {
      const silence = pause(answersWithinMs, undefined, { signal: stop.signal }).then(() => {
        throw new Error('Redis does not answer');
      });
      const asked = redis.eval(script, 1, key, turns, windowMs, longestWaitMs);
      return Number(await Promise.race([asked, silence]));
    } catch {
      awayUntilMs = performance.now() + awayForMs;
      return alone();
    } finally {
      stop.abort();
    }
  }

  return {
    async turn(signal) {
      const waitMs = await reserve();
      signal.throwIfAborted();
      if (waitMs > longestWaitMs)
        throw new AdapterFailure({
          class: 'rate_limited',
          code: 'RATE_LIMITED_HERE',
          message: "the adapter's requestsPerSecond are used up; nothing was sent",
          retryAfterMs: waitMs,
          billed: 'nothing',
        });
      if (waitMs > 0)
        await pause(waitMs, undefined, { signal }).catch((cause) => {
          throw signal.aborted ? signal.reason : cause;
        });
    },
  };
}

interface Window {
  turns: number;
  windowMs: number;
}

function windowOf(perSecond: number): Window {
  const turns = Math.max(1, Math.floor(perSecond));
  return { turns, windowMs: Math.ceil((turns / perSecond) * 1000) };
}

/**
 * The times of the last turns by Redis's clock, in milliseconds, the newest first; some lie ahead. When that clock has gone back, they would lie
 * too far ahead for ever, and are forgotten.
 */
const script = `
local turns, window, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local newest = tonumber(redis.call('LINDEX', KEYS[1], 0) or 0)
if newest > now + longest then
  redis.call('DEL', KEYS[1])
  newest = 0
end
local before = tonumber(redis.call('LINDEX', KEYS[1], turns - 1) or 0)
local at = math.max(now, newest, before > 0 and before + window or 0)
if at - now > longest then return at - now end
redis.call('LPUSH', KEYS[1], string.format('%.0f', at))
redis.call('LTRIM', KEYS[1], 0, turns - 1)
redis.call('PEXPIRE', KEYS[1], at - now + window)
return at - now`;

/** The same in this process's memory. */
function turnsHere({ turns, windowMs }: Window): () => number {
  const times: number[] = [];
  return () => {
    const now = performance.now();
    const before = times.length < turns ? 0 : times[times.length - turns]! + windowMs;
    const at = Math.max(now, times.at(-1) ?? 0, before);
    if (at - now <= longestWaitMs) {
      times.push(at);
      if (times.length > turns) times.shift();
    }
    return Math.ceil(at - now);
  };
}
