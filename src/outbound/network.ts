import type { LookupFunction } from 'node:net';
import type { Dispatcher } from 'undici';
import { type HostRefusal, hostTest, refusal } from '../sdk/hosts.ts';
import { AdapterFailure } from '../sdk/index.ts';
import { type Connector, guardedAgent, guardedConnector } from './connect.ts';
import { announcing } from './exchange.ts';
import { createLimits, type Limits } from './limit.ts';

/** What one adapter reaches, and how. */
export interface Network {
  refuses: HostRefusal;
  /** The same for a URL of an output. */
  refusesAsset: HostRefusal;
  /** For what may be repeated: its connections are used again. */
  kept: Dispatcher;
  /** For what may not: each request has its own connection. */
  fresh: Dispatcher;
  /** For WebSockets. */
  connect: Connector;
  /** What is under way. */
  limits: Limits;
  /** Ends every connection and what is under way on it. */
  close(): Promise<void>;
}

/** @param options.hosts and the others are patterns as {@link hostTest} takes them. */
export function openNetwork(options: {
  hosts: string[];
  assetHosts: string[];
  privateHosts: string[];
  lookup: LookupFunction;
}): Network {
  const guard = { allows: hostTest(options.privateHosts), lookup: options.lookup };
  const [kept, fresh] = [guardedAgent(guard), guardedAgent({ ...guard, keepAlive: false })];
  const limits = createLimits();
  return {
    refuses: refusal(options.hosts, 'hosts'),
    refusesAsset: refusal(options.assetHosts, 'assetHosts'),
    kept: kept.compose(announcing),
    fresh: fresh.compose(announcing),
    connect: guardedConnector(guard),
    limits,
    async close() {
      limits.close();
      await Promise.all([kept.destroy(), fresh.destroy()]);
    },
  };
}

/** @param what was tried, without a query. */
export function hostRefused(what: string, why: string): AdapterFailure {
  return new AdapterFailure({
    class: 'permanent',
    code: 'HOST_REFUSED',
    message: `${what} ${why}`,
    billed: 'nothing',
  });
}
