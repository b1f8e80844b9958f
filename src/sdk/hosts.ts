import { isIP } from 'node:net';

/** Says whether a host is one of those that are named. */
export type HostTest = (hostname: string, port: string) => boolean;

/**
 * @param patterns hosts (any port), hosts with a port, or `*.` and a domain for everything below it, but not the domain itself:
 * `media.internal`, `127.0.0.1:9000`, `*.acme.example`, `*.acme.example:8443`. IPv6 addresses with brackets, or without and then for any port.
 */
export function hostTest(patterns: string[]): HostTest {
  const exact = new Set<string>();
  const below: string[] = [];
  for (const pattern of patterns) {
    const [, star, host = '', port = ''] = /^(\*\.)?(.*?)(:\d+)?$/s.exec(bracketed(pattern.trim())) ?? [];
    const name = canonical(host);
    if (star) below.push(`.${name}${port}`);
    else exact.add(name + port);
  }
  return (hostname, port) => {
    const name = canonical(bracketed(hostname));
    const whole = `${name}:${port}`;
    return (
      exact.has(name) || exact.has(whole) || below.some((domain) => name.endsWith(domain) || whole.endsWith(domain))
    );
  };
}

/** What is wrong with a URL, in words for the adapter's author; null: nothing. */
export type HostRefusal = (url: string, schemes: RegExp) => string | null;

/** @param where the adapter names those hosts: `hosts` or `assetHosts`. */
export function refusal(hosts: string[], where: string): HostRefusal {
  const declared = hostTest(hosts);
  return (text, schemes) => {
    if (!URL.canParse(text)) return 'is no URL';
    const url = new URL(text);
    if (!schemes.test(url.protocol)) return `has the scheme ${url.protocol}`;
    if (url.username || url.password) return 'holds a user name or password: send a header';
    if (declared(hostnameOf(url), portOf(url))) return null;
    return `goes to ${url.host}, which the adapter does not declare in ${where}`;
  };
}

export const hostnameOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '');

export const portOf = (url: URL): string => url.port || (/^(https|wss):$/.test(url.protocol) ? '443' : '80');

/** Without them `::1` with port 9000 and the address `::1:9000` look the same. */
const bracketed = (host: string): string => (isIP(host) === 6 ? `[${host}]` : host);

/** As the URL parser writes it: lower case, international names in ASCII, addresses in their shortest form; no dot at the end. */
function canonical(host: string): string {
  const url = `http://${host}/`;
  return (URL.canParse(url) ? new URL(url).hostname : host.toLowerCase()).replace(/\.$/, '');
}
