import { isDeepStrictEqual } from 'node:util';
import type { CallPhase } from '../adapter.ts';
import type { FailureClass, FailureFacts } from '../failure.ts';
import { HttpFailure, NetworkFailure } from '../http.ts';
import { malformedFailure } from './answers.ts';
import { describe, each, overNetwork, type Rule, type Subject } from './check.ts';
import { interruptions, lostAnswers, mayBuy, oddAnswers, refusal, refusals } from './faults.ts';
import type { FixtureCase } from './fixture.ts';
import { type Rehearsal, rehearse } from './rehearsal.ts';
import { show } from './value.ts';
import type { Fault, Sent } from './wire.ts';

const noNetwork = 'no fixture has exchanges';
const noPurchase = 'no fixture has a paid call that succeeds';

/** The paid call. */
const isPaid = (sent: Sent): boolean => sent.phase === 'start' && mayBuy(sent);
const isLook = ({ phase }: Sent): boolean => phase === 'poll';

/** Rule A: what a failure means depends on where it happens. */
export const failureRules: Rule[] = [
  {
    group: 'failures',
    name: 'classify judges every error, always alike, and never throws',
    fix: "classify(error, phase) is pure: return undefined for what you do not know. An Error that is none of the exchange's is no reason to try again.",
    test({ adapter }) {
      if (!adapter.classify) return { skipped: 'the adapter leaves it to the default' };
      const found: string[] = [];
      for (const phase of phases)
        for (const [name, error] of strangers()) {
          const judge = () => adapter.classify!(error, phase);
          try {
            const facts = judge();
            if (!isDeepStrictEqual(facts, judge())) found.push(`${name} in ${phase}: judged otherwise the second time`);
            if (facts) found.push(...malformedFailure(facts).map((line) => `${name} in ${phase}: ${line}`));
            const isForeign = !(error instanceof HttpFailure || error instanceof NetworkFailure);
            if (isForeign && phase === 'start' && adapter.resubmit !== 'safe' && facts?.class === 'retryable')
              found.push(`${name} in start is retryable: a paid call may have been made`);
          } catch (thrown) {
            found.push(`${name} in ${phase}: classify throws ${describe(thrown)}`);
          }
        }
      return found;
    },
  },
  {
    group: 'failures',
    name: 'a refusal of the paid call is final: 400, 401, 402, 403, 404, 422',
    fix: 'Leave these to the default (return undefined from classify), or class them invalid_input, authentication, quota, permanent or content_policy.',
    test: (subject) =>
      starts(
        subject,
        refusals.map((status) => [String(status), refusal(status)]),
        ({ class: found }) =>
          ['invalid_input', 'authentication', 'quota', 'permanent', 'content_policy'].includes(found),
      ),
  },
  {
    group: 'failures',
    name: 'a paid call whose answer is lost is ambiguous',
    fix: "A reset, a time-out, 408 or a 5xx in start may have been bought: leave it to the default. Only a refusal in the vendor's own documented format is retryable.",
    test: (subject) => starts(subject, lostAnswers, lostMay(subject)),
  },
  {
    group: 'failures',
    name: 'a paid call that was never sent is retryable, and 429 is rate_limited',
    fix: 'Use classifyExchange: it reads NetworkFailure.sent and Retry-After.',
    async test(subject) {
      const unsent = await starts(subject, [['no connection', 'unsent']], ({ class: found }) => found === 'retryable');
      if (!Array.isArray(unsent)) return unsent;
      const limited: Fault = { status: 429, headers: { 'retry-after': '7' }, json: {} };
      const told = (facts: FailureFacts) => facts.class === 'rate_limited' && facts.retryAfterMs === 7_000;
      const found = await starts(subject, [['429 with Retry-After: 7', limited]], told, true);
      return [...unsent, ...(found as string[])];
    },
  },
  {
    group: 'failures',
    name: 'an answer to the paid call in no known shape is not taken for a job',
    fix: 'Check that the fields which you need are there (z.object({ id: z.string() }).safeParse); if not, throw an AdapterFailure of class ambiguous (a job may run), or permanent NO_OUTPUT.',
    test: (subject) =>
      each(paying(subject), noPurchase, async (one) => {
        const good = await rehearse(subject, one, { until: 'start' });
        const found: string[] = [];
        for (const [name, fault] of [...oddAnswers, ['an answer without end', 'endless'] as [string, Fault]]) {
          const seen = await rehearse(subject, one, {
            fault: (sent) => (isPaid(sent) ? fault : undefined),
            until: 'start',
          });
          const { failure, handle, produced } = seen;
          const allowed: FailureClass[] = ['ambiguous', ...(fault === 'endless' ? [] : ['permanent' as const])];
          if (subject.adapter.resubmit === 'safe') allowed.push('retryable');
          if (failure && !allowed.includes(failure.class)) found.push(`${name}: ${told(failure)}`);
          if (handle && !isComplete(handle, good.handle)) found.push(`${name}: becomes the handle ${show(handle)}`);
          // Bytes of a wrong kind are told from the bytes, and none at all is NO_OUTPUT.
          const isTold = produced?.outputs.every(({ from }) => 'bytes' in from || 'file' in from);
          const givesNone = produced?.outputs.length === 0 && !one.expect.outputs;
          if (produced && (!isTold || givesNone)) found.push(`${name}: becomes a result: ${show(produced.result)}`);
        }
        return found;
      }),
  },
  {
    group: 'failures',
    name: 'a look at the job that goes wrong can be repeated',
    fix: 'In poll, let failures of the exchange through (they are retryable there), and read answers leniently: `answer?.status`.',
    test: (subject) =>
      each(polled(subject), 'no fixture has a job that is polled', async (one) => {
        const found: string[] = [];
        const faults = [
          ...lostAnswers,
          ...oddAnswers,
          ['no connection', 'unsent'],
          ['429', refusal(429)],
          ['an answer without end', 'endless'],
        ] as [string, Fault][];
        for (const [name, fault] of faults) {
          const { observations, looks } = await rehearse(subject, one, {
            fault: (sent) => (isLook(sent) ? fault : undefined),
            looks: 1,
            silent: true,
          });
          const wrong = looks.filter(({ class: found }) => found !== 'retryable' && found !== 'rate_limited');
          found.push(...wrong.map((facts) => `${name}: ${told(facts)}`));
          found.push(
            ...observations
              .filter(({ state }) => state !== 'running' && state !== 'queued')
              .map(({ state }) => `${name}: it becomes ${state}`),
          );
        }
        return [...found, ...(await laterRequests(subject, one))];
      }),
  },
  {
    group: 'purchases',
    name: 'one paid call, whatever goes wrong',
    fix: 'start makes one request that costs something, and no second one: no loop, no retry, no client library that retries. Atelier does it. In a fixture, `free: true` marks what costs nothing though it is no GET.',
    test: (subject) =>
      each(overNetwork(subject), noNetwork, async (one) => {
        const faults = [
          ['nothing', undefined],
          ...lostAnswers,
          ...oddAnswers,
          ['no connection', 'unsent'],
          ['429', refusal(429)],
          ['400', refusal(400)],
        ] as [string, Fault | undefined][];
        const found: string[] = [];
        for (const [name, fault] of faults) {
          const { wire } = await rehearse(subject, one, { fault: (sent) => (isPaid(sent) ? fault : undefined) });
          const paid = wire.sent.filter(mayBuy);
          if (paid.length > 1)
            found.push(
              `${name}: ${paid.length} (${paid.map(({ method, url, phase }) => `${method} ${url} in ${phase}`).join(', ')})`,
            );
        }
        return found;
      }),
  },
];

const phases: CallPhase[] = ['start', 'poll', 'follow', 'receive', 'cancel', 'find', 'download', 'upload'];

const strangers = (): [string, unknown][] => [
  ['undefined', undefined],
  ['null', null],
  ['a string', 'cancelled'],
  ['a TypeError', new TypeError("Cannot read properties of undefined (reading 'id')")],
  [
    'a 500 of a proxy',
    new HttpFailure('POST https://vendor.example/', { status: 500, headers: new Headers(), body: '<html>' }),
  ],
  [
    'a 400 with an empty body',
    new HttpFailure('POST https://vendor.example/', { status: 400, headers: new Headers(), body: '' }),
  ],
  [
    'a 400 that says null',
    new HttpFailure('POST https://vendor.example/', { status: 400, headers: new Headers(), body: 'null' }),
  ],
  [
    'a 422 that says []',
    new HttpFailure('POST https://vendor.example/', { status: 422, headers: new Headers(), body: '[]' }),
  ],
  [
    'a 403 that says {"error": 1}',
    new HttpFailure('POST https://vendor.example/', {
      status: 403,
      headers: new Headers(),
      body: '{"error":1,"detail":1}',
    }),
  ],
  ['a reset', new NetworkFailure('reset', { sent: 'maybe' })],
];

const told = ({ class: name, code, message }: FailureFacts): string => `is ${name} (${code}: ${message})`;

const lostMay =
  ({ adapter }: Subject) =>
  ({ class: found }: FailureFacts): boolean =>
    found === 'ambiguous' || (adapter.resubmit === 'safe' && found === 'retryable');

/** Cases in which the vendor says yes to a paid call. */
const paying = (subject: Subject): FixtureCase[] =>
  overNetwork(subject).filter(({ exchanges }) => {
    const paid = exchanges.find(({ request, free = false }) => mayBuy({ ...request, free }));
    return paid !== undefined && paid.response.status < 300;
  });

const polled = (subject: Subject): FixtureCase[] =>
  subject.adapter.poll
    ? overNetwork(subject).filter(({ exchanges }) => exchanges.some(({ request }) => request.method === 'GET'))
    : [];

/** Breaks one request after the other that a job's looks make, each alone: the next look finds the same end. */
async function laterRequests(subject: Subject, one: FixtureCase): Promise<string[]> {
  const whole = await rehearse(subject, one, { silent: true });
  const urls = whole.wire.sent.filter(isLook).map(({ method, url }) => `${method} ${url}`);
  // The first of all was broken above, and those between say what the first and the last say.
  const places = new Set(urls.flatMap((url) => [urls.indexOf(url), urls.lastIndexOf(url)]).filter((at) => at > 0));
  const found: string[] = [];
  for (const place of places)
    for (const [name, fault] of interruptions) {
      let count = 0;
      const seen = await rehearse(subject, one, {
        fault: (sent) => (isLook(sent) && count++ === place ? fault : undefined),
        silent: true,
      });
      const where = `${name} to ${urls[place]}`;
      const known = whole.looks.map(({ code }) => code);
      const wrong = seen.looks.filter(
        ({ class: name, code }) => name !== 'retryable' && name !== 'rate_limited' && !known.includes(code),
      );
      found.push(...wrong.map((facts) => `${where}: ${told(facts)}`));
      if (seen.state !== whole.state)
        found.push(
          `${where}: the job ends ${seen.state}, not ${whole.state}${seen.failure ? ` (${told(seen.failure)})` : ''}`,
        );
    }
  return found;
}

/** One start with each fault; what is thrown must please `isRight`. */
function starts(
  subject: Subject,
  faults: [string, Fault][],
  isRight: (facts: FailureFacts) => boolean,
  withDelay = false,
): ReturnType<typeof each> {
  return each(paying(subject), noPurchase, async (one) => {
    const found: string[] = [];
    for (const [name, fault] of faults) {
      const seen: Rehearsal = await rehearse(subject, one, {
        fault: (sent) => (isPaid(sent) ? fault : undefined),
        until: 'start',
      });
      const { failure, handle } = seen;
      if (!seen.wire.sent.some(isPaid)) continue;
      if (handle) found.push(`${name}: becomes a handle`);
      else if (!failure) found.push(`${name}: is no failure`);
      else if (!isRight(failure))
        found.push(`${name}: ${told(failure)}${withDelay ? `, retryAfterMs ${failure.retryAfterMs}` : ''}`);
    }
    return found;
  });
}

/** True when it names all that the handle of a good answer names: the vendor's job is found by an id of our own. */
function isComplete(handle: object, good: object | undefined): boolean {
  const has = JSON.parse(JSON.stringify(handle));
  return Object.keys(good ?? {}).every((name) => has[name] !== undefined && has[name] !== null && has[name] !== '');
}
