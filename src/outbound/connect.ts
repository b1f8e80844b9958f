import { lookup as resolve } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import { Agent, buildConnector } from 'undici';
import { OutsideError } from '../errors.ts';
import { addressRefusal } from './address.ts';

/** Opens connections, and gives them out when they stand, TLS included. */
export type Connector = buildConnector.connector;

/** The guard's own word: the host leads to where it must not. Nothing was sent. */
export class HostRefused extends OutsideError {
  constructor(message: string) {
    super(message, { retryable: false });
  }
}

/**
 * Connections to public addresses only. A name is resolved once per connection, every address that it has is checked, and
 * the connection goes to one of those same addresses: a name that changes its mind between check and connect gains nothing.
 * TLS and the Host header keep the original name. Ten seconds at most, name and TLS included. Fails with {@link HostRefused}.
 * @param options.allows says whether a host may be private, by `host` and `host:port`.
 */
export function guardedConnector(options: {
  allows(hostname: string, port: string): boolean;
  lookup: LookupFunction;
}): Connector {
  const guarded = buildConnector({ timeout: connectTimeoutMs, lookup: checked(options.lookup) });
  const free = buildConnector({ timeout: connectTimeoutMs, lookup: options.lookup });
  return (target, callback) => {
    const hostname = target.hostname.replace(/^\[|\]$/g, '');
    if (options.allows(hostname, target.port || (target.protocol === 'https:' ? '443' : '80')))
      return free(target, callback);
    // The lookup below is not called for literal addresses.
    const refusal = isIP(hostname) ? addressRefusal(hostname) : null;
    if (refusal) return callback(new HostRefused(`${hostname} is ${refusal}`), null);
    guarded(target, callback);
  };
}

/**
 * Requests over such connections.
 * @param options.keepAlive false: each request has a connection of its own, so that none is sent into one that the server has just given
 * up: its fate would be unknown. Default: true.
 */
export function guardedAgent(options: Parameters<typeof guardedConnector>[0] & { keepAlive?: boolean }): Agent {
  return new Agent({
    pipelining: options.keepAlive === false ? 0 : 1,
    // Each request has its own time limit, which covers headers and body.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: guardedConnector(options),
  });
}

const connectTimeoutMs = 10_000;

/** The system's resolver. */
export const systemLookup: LookupFunction = (hostname, options, callback) =>
  resolve(hostname, options as { all: true }, callback as never);

function checked(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0);
      const list = Array.isArray(addresses) ? addresses : [];
      for (const { address } of list) {
        const refusal = addressRefusal(address);
        if (refusal) return callback(new HostRefused(`${hostname} resolves to ${address}, which is ${refusal}`), '', 0);
      }
      const first = list[0];
      if (!first) return callback(new OutsideError(`${hostname} resolves to no address`, { retryable: true }), '', 0);
      if (options.all) callback(null, list);
      else callback(null, first.address, first.family);
    });
  };
}
