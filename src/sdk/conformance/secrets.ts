import { each, type Rule } from './check.ts';
import { type Rehearsal, rehearse, replay } from './rehearsal.ts';
import type { Fault } from './wire.ts';

/** Shorter values occur by chance. */
const shortestSecret = 6;
const faults: Fault[] = ['lost', { status: 401, json: {} }, { status: 400, json: {} }, { status: 500, text: '<html>' }];

/** Secrets are told to the vendor, and to nobody else. */
export const secretRules: Rule[] = [
  {
    group: 'secrets',
    name: 'no secret in a log, a failure, a handle, a request, a URL or an output',
    fix: 'Secrets go into headers of context.fetch, and nowhere else. In an output, write { secret: "NAME" } as the value of a header.',
    test(subject) {
      if (!subject.adapter.secrets) return { skipped: 'the adapter has no secrets' };
      return each(subject.cases, 'there are no fixtures', async (one) => {
        const secrets = Object.entries(subject.secretsOf(one)).filter(([, value]) => value.length >= shortestSecret);
        const seen = [await replay(subject, one)];
        for (const fault of one.exchanges.length > 0 ? faults : [])
          for (const at of ['start', 'poll'])
            seen.push(
              await rehearse(subject, one, { looks: 1, fault: ({ phase }) => (phase === at ? fault : undefined) }),
            );
        return seen.flatMap(tellings).flatMap(([where, told]) => {
          const isTold = (value: string) => formsOf(value).some((form) => told.includes(form));
          return secrets.filter(([, value]) => isTold(value)).map(([name]) => `${name} is in ${where}`);
        });
      });
    },
  },
];

function tellings(seen: Rehearsal): [string, string][] {
  const text = (value: unknown): string =>
    JSON.stringify(value, (_, inner) =>
      inner instanceof Uint8Array ? Buffer.from(inner).toString('latin1') : inner,
    ) ?? '';
  return [
    ['a log', seen.logs.join('\n')],
    ['a warning', seen.warnings.join('\n')],
    ['the request of the transformer', text(seen.request)],
    ['a URL', seen.wire.sent.map(({ url }) => url).join('\n')],
    ['the handle', text(seen.handle)],
    ['an observation', text(seen.observations)],
    ['a failure', text([seen.failure, ...seen.looks])],
    ['what was produced', text(seen.produced)],
  ];
}

/** A text as it may stand in a URL, a header or a body. */
export const formsOf = (text: string): string[] => [
  text,
  Buffer.from(text).toString('base64'),
  encodeURIComponent(text),
];
