import { Redis } from 'ioredis';
import type { Log } from './log.ts';

/**
 * A Redis connection that never ends the process and never gives up: it tries again every 0.5 s at the latest.
 * Commands fail at once while it is away (`enableOfflineQueue: false`), unless `queue` is asked for.
 */
export function connectRedis(url: string, options: { log: Log; queue?: boolean }): Redis {
  const redis = new Redis(url, {
    enableOfflineQueue: options.queue ?? false,
    maxRetriesPerRequest: options.queue ? null : 0,
    retryStrategy,
    connectTimeout: 5_000,
    // Both ask Redis about itself after connecting, and a SUBSCRIBE may overtake them: then they fail, and the subscription is lost.
    enableReadyCheck: !options.queue,
    disableClientInfo: true,
  });
  let down = false;
  redis.on('error', (error) => {
    if (!down) options.log.warn({ err: error }, 'Redis is away; trying again every 0.5 s');
    down = true;
  });
  redis.on('ready', () => {
    if (down) options.log.info('Redis is back');
    down = false;
  });
  return redis;
}

export const retryStrategy = (times: number): number => Math.min(50 * times, 500);
