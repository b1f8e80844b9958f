import ipaddr from 'ipaddr.js';

/** Ranges that ipaddr.js counts as unicast and that are none of the public internet's business. */
const refused: [string, string][] = [
  // The host agent of Azure: metadata and credentials behind an address that looks public.
  ['168.63.129.16/32', 'a cloud metadata address'],
  // IPv4 inside IPv6 ("IPv4-compatible"): the kernel may reach the IPv4 address behind it.
  ['::/96', 'an IPv4 address inside IPv6'],
  ['fec0::/10', 'a site-local address'],
];

/** Addresses of the public internet are handed out from here only; what is not of it is future or somebody's experiment. */
const publicIpv6 = ipaddr.parseCIDR('2000::/3');

/**
 * Why requests may not go to an IP address, in words, or null when it is a public unicast one.
 * @param address as the resolver gives it, or as it stands in a URL, with or without brackets.
 */
export function addressRefusal(address: string): string | null {
  const bare = address.replace(/^\[|\]$/g, '');
  if (!ipaddr.isValid(bare)) return 'no IP address';
  const parsed = ipaddr.parse(bare);
  for (const [cidr, reason] of refused) {
    const range = ipaddr.parseCIDR(cidr);
    if (range[0].kind() === parsed.kind() && parsed.match(range)) return reason;
  }
  const range = parsed.range();
  if (range !== 'unicast') return `${article(range)} ${range} address`;
  if (parsed.kind() === 'ipv6' && !parsed.match(publicIpv6)) return 'a reserved address';
  return null;
}

const article = (word: string): string => (/^[aeiou]/.test(word) ? 'an' : 'a');
