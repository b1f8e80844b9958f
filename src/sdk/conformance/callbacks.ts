import type { Handle, Observation } from '../adapter.ts';
import type { CallbackRequest } from '../context.ts';
import type { FailureFacts } from '../failure.ts';
import { malformed } from './answers.ts';
import { callOf } from './calls.ts';
import { each, type Rule, type Subject } from './check.ts';
import { bytesOf, type FixtureCase } from './fixture.ts';
import { rehearse, replay } from './rehearsal.ts';
import { formsOf } from './secrets.ts';
import { show } from './value.ts';

const dayMs = 86_400_000;
const noCallback = 'no fixture has a callback';

/** A callback is verified before anything else. */
export const callbackRules: Rule[] = [
  {
    group: 'callbacks',
    name: 'the vendor is told where to call',
    fix: 'Send context.callbackUrl with the job, where there is one: in the URL, a header or the body, as the vendor wants it.',
    test: (subject) =>
      each(calledCases(subject), withoutCallback(subject), async (one) => {
        const { wire, context } = await replay(subject, one);
        const sent = wire.sent.filter(({ phase }) => phase === 'start' || phase === 'upload');
        const told = sent.map(({ url, headers, body }) => [url, ...Object.values(headers), body].join('\n'));
        const isTold = told.some((text) => formsOf(context.callbackUrl!).some((form) => text.includes(form)));
        // What sends nothing has another fault.
        return isTold || sent.length === 0 ? [] : [`no request of start holds ${context.callbackUrl}`];
      }),
  },
  {
    group: 'callbacks',
    name: 'a signed callback is understood, also before start has returned',
    fix: 'receive returns an observation, or null when it says nothing about the outcome; handle is null while start has not returned. One fixture needs a signed `callback`.',
    async test(subject) {
      const found = await calledBack(subject, async (receive, one, handle) => {
        const found: string[] = [];
        for (const known of [handle, null]) {
          const { value, failure } = await receive(requestOf(one), known);
          const when = known ? '' : 'with no handle yet: ';
          if (failure) found.push(`${when}${failure.class} (${failure.code}: ${failure.message})`);
          else if (value) found.push(...malformed(value).map((line) => `${when}${line}`));
          else if (value !== null) found.push(`${when}gives ${show(value)}`);
        }
        return found;
      });
      const isUntried =
        !Array.isArray(found) && subject.adapter.receive && subject.unfit.length + subject.stuck.size === 0;
      // What nobody ever tried to verify is not verified.
      return isUntried ? [noCallback] : found;
    },
  },
  {
    group: 'callbacks',
    name: 'a forged callback is refused',
    fix: "Verify the signature over the raw body before parsing, in constant time, and throw an AdapterFailure { class: 'authentication' }. A header that the vendor does not sign is nothing to go by: leave it out of the fixture.",
    test: (subject) =>
      calledBack(subject, async (receive, one, handle) => {
        const real = requestOf(one);
        const forged: [string, CallbackRequest][] = [
          ['a changed body', { ...real, body: flipped(real.body) }],
          ['an empty body', { ...real, body: new Uint8Array() }],
          ['no headers', { ...real, headers: {} }],
          ...Object.keys(real.headers)
            .filter((name) => !isTransport(name))
            .flatMap((name) => forgeriesOf(real, name)),
        ];
        const found: string[] = [];
        for (const [name, request] of forged) {
          const { value, failure } = await receive(request, handle);
          if (!failure) found.push(`${name}: taken as ${show(value)}`);
          else if (failure.class !== 'authentication') found.push(`${name}: ${failure.class} (${failure.message})`);
        }
        return found;
      }),
  },
  {
    group: 'callbacks',
    name: 'a stale callback is refused',
    fix: 'Compare the signed time stamp with context.now() (a few minutes), and throw an AdapterFailure { class: "authentication" }.',
    test: (subject) =>
      calledBack(subject, async (receive, one, handle) => {
        const { value, failure } = await receive(requestOf(one), handle, Date.parse(one.callback!.at) + dayMs);
        if (!failure) return [`a day later: taken as ${show(value)}`];
        return failure.class === 'authentication' ? [] : [`a day later: ${failure.class} (${failure.message})`];
      }),
  },
];

type Receive = (
  request: CallbackRequest,
  handle: Handle | null,
  at?: number,
) => Promise<{ value?: Observation | null; failure?: FailureFacts }>;

function calledBack(
  subject: Subject,
  test: (receive: Receive, one: FixtureCase, handle: Handle) => Promise<string[]>,
): ReturnType<typeof each> {
  const { adapter } = subject;
  return each(calledCases(subject), withoutCallback(subject), async (one) => {
    const found: string[] = [];
    await rehearse(subject, one, {
      until: 'start',
      async after(seen) {
        if (!seen.handle) {
          const { failure } = seen;
          const why = failure ? ` (${failure.class} ${failure.code}: ${failure.message})` : '';
          return void found.push(`start gives no handle${why}`);
        }

        const call = callOf(adapter, seen);
        const receive: Receive = (request, handle, at = Date.parse(one.callback!.at)) =>
          call('receive', () => adapter.receive!(request, handle, { ...seen.context, now: () => new Date(at) }));
        found.push(...(await test(receive, one, JSON.parse(JSON.stringify(seen.handle)))));
      },
    });
    return found;
  });
}

const calledCases = ({ adapter, cases }: Subject): FixtureCase[] =>
  adapter.receive ? cases.filter(({ callback }) => callback) : [];

const withoutCallback = ({ adapter }: Subject): string => (adapter.receive ? noCallback : 'the adapter has no receive');

function requestOf({ callback }: FixtureCase): CallbackRequest {
  const { headers, query } = callback!;
  const lower = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  return { headers: lower, query, body: bytesOf(callback!) };
}

function flipped(bytes: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(bytes);
  const middle = Math.floor(copy.length / 2);
  if (copy.length > 0) copy[middle] = copy[middle]! ^ 1;
  return copy;
}

/** Of the exchange rather than of the call: nobody signs it, and nobody goes by it. */
const isTransport = (name: string): boolean =>
  /^(content-(type|length|encoding)|accept.*|user-agent|host|connection|date|traceparent|x-forwarded-.*)$/.test(name);

/** Without the header; with another one; and, where it holds a time, with one that is a second or so apart and so not stale. */
function forgeriesOf(real: CallbackRequest, name: string): [string, CallbackRequest][] {
  const { [name]: value = '', ...others } = real.headers;
  const withValue = (other: string) => ({ ...real, headers: { ...others, [name]: other } });
  const later = value.replace(/\b(\d{9,12}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)/, (time) => changed(time, time.length - 1));
  return [
    [`no ${name}`, { ...real, headers: others }],
    [`a changed ${name}`, withValue(changed(value, Math.floor(value.length / 2)))],
    ...(later === value ? [] : [[`another time in ${name}`, withValue(later)] as [string, CallbackRequest]]),
  ];
}

/** With another character at that place, of the same alphabet. */
function changed(text: string, at: number): string {
  const other = /\d/.test(text[at] ?? '') ? String((Number(text[at]) + 1) % 10) : /a/i.test(text[at] ?? '') ? 'b' : 'a';
  return `${text.slice(0, at)}${other}${text.slice(at + 1)}`;
}
