import type { Adapter, CancelAnswer, Handle } from '../adapter.ts';
import type { FailureFacts } from '../failure.ts';
import { each, type Rule, type Subject } from './check.ts';
import { mayBuy } from './faults.ts';
import type { FixtureCase, RecordedResponse } from './fixture.ts';
import { type Rehearsal, type RehearsalOptions, rehearse } from './rehearsal.ts';
import { show } from './value.ts';
import { classify } from './verdict.ts';
import { waitingRules } from './waiting.ts';
import type { Fault } from './wire.ts';

const cancelAnswers: CancelAnswer[] = ['cancelled', 'requested', 'too_late', 'unknown'];

/** How an adapter lets go, looks for what was lost, and hears of its jobs. */
export const callRules: Rule[] = [
  ...waitingRules,
  {
    group: 'calls',
    name: 'cancel twice is harmless, and its failures are no disaster',
    fix: 'Answer cancelled, requested, too_late or unknown; a job that is gone or ended is too_late or unknown, not an exception. After a 502 or a lost answer nobody knows: say unknown or throw.',
    test: (subject) =>
      withJob(subject, subject.adapter.cancel, 'the adapter has no cancel', async (one, play) => {
        const answers: [string, Fault | undefined][] = one.cancel
          ? [['as recorded', undefined]]
          : [['{}', { status: 200, json: {} }]];
        const gone: RecordedResponse = { status: 404, json: { detail: 'no such job' } };
        answers.push(['404', gone], ['409', { ...gone, status: 409 }]);
        const lost: typeof answers = [
          ['502', { status: 502, text: '<html>' }],
          ['a reset', 'lost'],
        ];
        const found: string[] = [];
        for (const answer of [...answers, ...lost]) {
          const [name, fault] = answer;
          const exchanges = one.cancel && [...one.exchanges, ...one.cancel, ...structuredClone(one.cancel)];
          await play(
            { exchanges, fault: ({ phase }) => (phase === 'cancel' ? fault : undefined) },
            async (call, handle, context, seen) => {
              for (const time of ['first', 'second']) {
                const before = seen.wire.sent.length;
                const { value, failure } = await call('cancel', () => subject.adapter.cancel!(handle, context));
                if (failure && ['bug', 'ambiguous'].includes(failure.class))
                  found.push(`${name}, the ${time} time: ${failure.class} (${failure.message})`);
                if (!failure && !cancelAnswers.includes(value as CancelAnswer))
                  found.push(`${name}, the ${time} time: answers ${show(value)}`);
                const isUnheard = lost.includes(answer) && seen.wire.sent.length > before;
                if (isUnheard && (value === 'cancelled' || value === 'too_late'))
                  found.push(`${name}, the ${time} time: answers ${value}, which nobody knows`);
              }
            },
          );
        }
        return found;
      }),
  },
  {
    group: 'calls',
    name: 'find buys nothing, and says a handle, null, or that it could not look',
    fix: 'find buys nothing: a handle as start would have given, null when the vendor has none, and a throw when the vendor cannot be asked.',
    test: (subject) =>
      withJob(subject, subject.adapter.find, 'the adapter has no find', async (one, play) => {
        const found: string[] = [];
        const look = async (
          name: string,
          options: RehearsalOptions,
          isRight: (value: Handle | null | undefined, failure?: FailureFacts) => boolean,
        ) => {
          await play(options, async (call, _, context, seen) => {
            const before = seen.wire.sent.length;
            const { value, failure } = await call('find', () =>
              subject.adapter.find!(context.attemptKey, context.now(), context),
            );
            const paid = seen.wire.sent.slice(before).filter(mayBuy);
            if (paid.length > 0) found.push(`${name}: it sends ${paid[0]!.method} ${paid[0]!.url}`);
            if (!isRight(value, failure))
              found.push(`${name}: ${failure ? `${failure.class} (${failure.message})` : `gives ${show(value)}`}`);
          });
        };
        if (one.find)
          await look(
            'as recorded',
            { exchanges: [...one.exchanges, ...one.find] },
            (value) => typeof value === 'object' && value !== null,
          );
        for (const [name, fault] of [
          ['502', { status: 502, text: '<html>' }],
          ['a reset', 'lost'],
          ['an HTML page', { status: 200, text: '<html>' }],
        ] as [string, Fault][])
          await look(
            name,
            { fault: ({ phase }) => (phase === 'find' ? fault : undefined) },
            (value, failure) => value !== null && (failure?.class === 'retryable' || value !== undefined),
          );
        return found;
      }),
  },
];

/** Calls a method in its phase; what it throws comes classed. */
export type Call = <Value>(
  phase: 'cancel' | 'find' | 'receive',
  begin: () => Promise<Value>,
) => Promise<{ value?: Value; failure?: FailureFacts }>;

/** Calls an adapter's method about jobs that were started. */
function withJob(
  subject: Subject,
  method: unknown,
  skipped: string,
  test: (
    one: FixtureCase,
    play: (
      options: RehearsalOptions,
      then: (call: Call, handle: Handle, context: Rehearsal['context'], seen: Rehearsal) => Promise<void>,
    ) => Promise<void>,
  ) => Promise<string[]>,
): ReturnType<typeof each> {
  return each(method ? subject.cases : [], method ? 'there are no fixtures' : skipped, (one) =>
    test(one, async (options, then) => {
      await rehearse(subject, one, {
        ...options,
        until: 'start',
        async after(seen) {
          if (seen.handle) await then(callOf(subject.adapter, seen), seen.handle, seen.context, seen);
        },
      });
    }),
  );
}

export const callOf =
  (adapter: Adapter, { enter }: Rehearsal): Call =>
  async (phase, begin) => {
    enter(phase);
    try {
      return { value: await begin() };
    } catch (error) {
      return { failure: classify(adapter, error, phase) };
    }
  };
