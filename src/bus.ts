import { setTimeout as pause } from 'node:timers/promises';
import { RedisPubSub } from 'graphql-redis-subscriptions';
import type { Log } from './log.ts';
import { connectRedis } from './redis.ts';

/**
 * Wake-ups between processes, over Redis. A wake-up is a hint: one that is lost costs the seconds until the next look at
 * Postgres, never data. Nothing waits for a publish.
 */
export interface Bus {
  wake(channel: string, payload: unknown): void;
  /** Resolves when it hears, or after 2 s while Redis is away, to hear from its return on. @returns a function that ends it. */
  listen(channel: string, heard: (payload: any) => void): Promise<() => void>;
  /** Called each time the connection is back after it was away: look at everything again. */
  onReturn(again: () => void): () => void;
  /** False while Redis is away. */
  readonly up: boolean;
  /** Resolves when Redis answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

const patienceMs = 2_000;

export function openBus(options: { url: string; prefix: string; log: Log }): Bus {
  const publisher = connectRedis(options.url, { log: options.log });
  const subscriber = connectRedis(options.url, { log: options.log, queue: true });
  const pubsub = new RedisPubSub({ publisher, subscriber });
  const again = new Set<() => void>();
  let ready = 0;
  subscriber.on('ready', () => {
    if (ready++ > 0) for (const call of again) call();
  });
  return {
    wake(channel, payload) {
      if (publisher.status === 'ready') pubsub.publish(`${options.prefix}:${channel}`, payload).catch(() => {});
    },
    async listen(channel, heard) {
      const subscribed = pubsub.subscribe(`${options.prefix}:${channel}`, (payload: unknown) => {
        // Anyone who reaches Redis can publish: what is no wake-up of ours must not end the process.
        if (typeof payload !== 'object' || payload === null) return;
        try {
          heard(payload);
        } catch (error) {
          options.log.warn({ err: error, channel }, 'a wake-up went wrong');
        }
      });
      subscribed.catch((error) => options.log.warn({ err: error, channel }, 'a wake-up channel is not heard'));
      await Promise.race([subscribed.catch(() => {}), pause(patienceMs, undefined, { ref: false })]);
      return () => {
        // While Redis is away the command would wait, and end as an unhandled rejection when the connection is given up.
        subscribed.then((id) => subscriber.status === 'ready' && pubsub.unsubscribe(id)).catch(() => {});
      };
    },
    onReturn(call) {
      again.add(call);
      return () => again.delete(call);
    },
    get up() {
      return publisher.status === 'ready' && subscriber.status === 'ready';
    },
    async ping() {
      await publisher.ping();
    },
    async close() {
      // QUIT waits behind what was unsubscribed a moment ago; cut off, that would end as an unhandled rejection.
      if (subscriber.status === 'ready')
        await Promise.race([subscriber.quit().catch(() => {}), pause(patienceMs, undefined, { ref: false })]);
      publisher.disconnect();
      subscriber.disconnect();
    },
  };
}
