import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CallPhase, Handle, Observation, Produced, Started } from '../adapter.ts';
import type { AdapterContext } from '../context.ts';
import type { FailureFacts } from '../failure.ts';
import { withoutFetch } from './bypass.ts';
import { configOf, place, transform, transformContext } from './case.ts';
import { noteTrouble, type Subject } from './check.ts';
import type { FixtureCase, RecordedExchange, RecordedResponse } from './fixture.ts';
import { classify, hangs, shapeless } from './verdict.ts';
import { type Fault, openWire, type Sent, type Wire } from './wire.ts';

/** One attempt of an adapter at a recorded case, and all that was seen of it. */
export interface Rehearsal {
  wire: Wire;
  warnings: string[];
  request?: unknown;
  handle?: Handle;
  observations: Observation[];
  /** `running` and `queued` when the recording ends before the job does. */
  state: Observation['state'];
  answer?: unknown;
  produced?: Produced<any>;
  /** The failure that ended it, thrown or observed. */
  failure?: FailureFacts;
  /** The phase in which `failure` was thrown; undefined: it was observed. */
  thrownIn?: CallPhase;
  /** What single looks at the job failed with. */
  looks: FailureFacts[];
  logs: string[];
  progress: number[];
  /** What took longer than it may, or did not end. */
  hung?: CallPhase;
  /** Which call gave observations one by one. */
  streamed?: 'start' | 'follow';
  /** How long the longest call of each kind took, in milliseconds. */
  tookMs: Partial<Record<CallPhase, number>>;
  /** Calls of the global fetch. */
  bypasses: string[];
  context: AdapterContext;
  /** Says which phase the requests that follow belong to. */
  enter(phase: CallPhase): void;
}

export interface RehearsalOptions {
  fault?(sent: Sent): Fault | undefined;
  change?(response: RecordedResponse, sent: Sent): RecordedResponse;
  /** Instead of the case's own. */
  exchanges?: RecordedExchange[];
  /** `start`: only until the job stands. Default: to its end. */
  until?: 'start' | 'end';
  /** Looks at the job, at most. Default: as many as the recording has answers for. */
  looks?: number;
  /** The job is polled, and not followed. */
  silent?: true;
  signal?: AbortSignal;
  /** Runs each call of the adapter. Default: as it is. */
  within?<Value>(begin: () => Value): Value;
  /** What comes after it, with what was opened still open. */
  after?(rehearsal: Rehearsal): Promise<void>;
}

const firstOfJanuary = '2026-01-01T00:00:00.000Z';
const mostLooks = 40;
/** Looks at a job that needs no recorded answers, or has none left: time goes on between them. */
const sparseLooks = 14;
const mostObservations = 10_000;
/** A call that a recording answers needs no time at all. */
const longestAnsweredMs = 5_000;

const replays = new WeakMap<FixtureCase, Promise<Rehearsal>>();

/** Plays a case as it was recorded, once for all rules. */
export function replay(subject: Subject, each: FixtureCase): Promise<Rehearsal> {
  const known = replays.get(each) ?? play(subject, each);
  replays.set(each, known);
  return known;
}

async function play(subject: Subject, each: FixtureCase): Promise<Rehearsal> {
  const seen = await rehearse(subject, each);
  if (seen.failure && !each.expect.failure) noteTrouble(subject, seen.failure.message);
  return seen;
}

/** Plays a case. Never throws for what the adapter does. The global fetch is taken away meanwhile. */
export const rehearse = (subject: Subject, each: FixtureCase, options: RehearsalOptions = {}): Promise<Rehearsal> =>
  withoutFetch((bypasses) => run(subject, each, options, bypasses));

async function run(
  subject: Subject,
  each: FixtureCase,
  options: RehearsalOptions,
  bypasses: string[],
): Promise<Rehearsal> {
  const { adapter } = subject;
  const directory = await mkdtemp(join(tmpdir(), 'atelier-conformance-'));
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  let phase: CallPhase = 'start';
  let elapsedMs = 0;
  const isAnswered = each.exchanges.length + each.sockets.length > 0;
  const limitMs = isAnswered ? Math.min(subject.timeoutMs, longestAnsweredMs) : subject.timeoutMs;
  const config = configOf(adapter, each);
  const wire = openWire({
    exchanges: options.exchanges ?? each.exchanges,
    sockets: each.sockets,
    hosts: adapter.hosts?.(config) ?? [],
    signal,
    phase: () => phase,
    fault: options.fault,
    change: options.change,
  });
  const seen: Rehearsal = {
    wire,
    warnings: [],
    observations: [],
    state: 'running',
    looks: [],
    logs: [],
    progress: [],
    tookMs: {},
    bypasses,
    enter(next) {
      phase = next;
    },
    context: {
      ...transformContext(subject, each),
      taskType: each.taskType,
      model: each.model,
      secrets: subject.secretsOf(each),
      fetch: wire.fetch,
      socket: wire.socket,
      cached: remember(),
      signal,
      deadline: new Date(Date.parse(each.now ?? firstOfJanuary) + 3_600_000),
      now: () => new Date(Date.parse(each.now ?? firstOfJanuary) + elapsedMs),
      directory,
      log: (_, message) => void seen.logs.push(String(message)),
      progress: (fraction) => void seen.progress.push(fraction),
    },
  };

  /** A call of the adapter's, in time; what it throws becomes a failure of that phase. */
  async function call<Value>(
    at: CallPhase,
    begin: () => Value | Promise<Value>,
  ): Promise<{ value?: Value; failure?: FailureFacts }> {
    phase = at;
    const begun = performance.now();
    const work = (async () => (options.within ? options.within(begin) : begin()))();
    work.catch(() => {});
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, limitMs, 'late');
    });
    try {
      const value = await Promise.race([work, late]);
      if (value !== 'late') return { value: value as Value };
      seen.hung ??= at;
      return { failure: hangs(`${at} took longer than ${limitMs} ms`) };
    } catch (error) {
      return { failure: classify(adapter, error, at) };
    } finally {
      clearTimeout(timer);
      seen.tookMs[at] = Math.max(seen.tookMs[at] ?? 0, performance.now() - begun);
    }
  }

  const end = (failure: FailureFacts, thrownIn?: CallPhase): void => {
    Object.assign(seen, { state: 'failed', failure, thrownIn });
  };

  /** @returns true when the job has ended. */
  function observe(observation: Observation): boolean {
    seen.observations.push(observation);
    seen.state = observation?.state;
    if (observation?.state === 'succeeded') seen.answer = observation.answer;
    if (observation?.state === 'failed') seen.failure = observation.failure;
    return !['queued', 'running'].includes(seen.state);
  }

  /** @returns true when the job has ended. */
  async function watch(at: 'start' | 'follow', open: () => AsyncIterable<Observation>): Promise<boolean> {
    seen.streamed = at;
    const fail = (failure: FailureFacts): boolean => {
      if (at === 'start') end(failure, at);
      else seen.looks.push(failure);
      return at === 'start' || seen.hung !== undefined;
    };
    const { value: iterator, failure: unopened } = await call(at, () => open()[Symbol.asyncIterator]());
    if (!iterator) return fail(unopened!);
    const begun = performance.now();
    try {
      for (let count = 1; ; count++) {
        const { value: next, failure } = await call(at, () => iterator.next());
        if (failure) return fail(failure);
        if (next!.done) return false;
        if (observe(next!.value)) return true;
        if (count < mostObservations && !(isAnswered && performance.now() - begun > limitMs)) continue;
        seen.hung ??= at;
        return fail(hangs(`${at} gives observations without end`));
      }
    } finally {
      iterator.return?.()?.catch?.(() => {});
    }
  }

  async function lookUntilTheEnd(handle: Handle): Promise<void> {
    if (!adapter.poll) return;
    const count = options.looks ?? mostLooks;
    for (let look = 1, sparse = 0; look <= count && sparse < sparseLooks; look++) {
      if (wire.isUsedUp()) sparse++;
      elapsedMs += 1_000 * 1.5 ** look;
      const { value, failure } = await call('poll', () => adapter.poll!(copy(handle), seen.context));
      if (failure) seen.looks.push(failure);
      if (seen.hung || (value && observe(value))) return;
    }
  }

  async function play(): Promise<void> {
    const { value: transformed, failure: refused } = await call('start', () => transform(subject, each));
    if (!transformed) return end(refused!, 'start');
    seen.warnings = transformed.warnings;
    const placed = await call('upload', () => place(adapter, each, transformed.request, seen.context));
    if (placed.failure) return end(placed.failure, 'upload');
    seen.request = placed.value;
    const { value: started, failure } = await call<Started>('start', () => adapter.start(placed.value, seen.context));
    if (!started) return end(failure ?? shapeless, 'start');
    if ('handle' in started) seen.handle = started.handle;
    else if ('answer' in started) Object.assign(seen, { state: 'succeeded', answer: started.answer });
    else if ('observations' in started) await watch('start', () => started.observations);
    else return end(shapeless, 'start');
    const { handle } = seen;
    if (handle && options.until !== 'start') {
      const isWatchable = !options.silent && (each.sockets.length > 0 || each.exchanges.some(isEventStream));
      const isDone =
        adapter.follow && isWatchable && (await watch('follow', () => adapter.follow!(copy(handle), seen.context)));
      if (!isDone) await lookUntilTheEnd(handle);
    }
    if (seen.state !== 'succeeded') return;
    const { value: produced, failure: unreadable } = await call('download', () =>
      adapter.transformers[each.taskType]!.fromProvider(seen.answer, transformContext(subject, each)),
    );
    if (produced) seen.produced = produced;
    else end(unreadable ?? shapeless, 'download');
  }

  try {
    await play();
    await options.after?.(seen);
    return seen;
  } finally {
    const failures = [...(seen.failure ? [seen.failure] : []), ...seen.looks].filter((facts) => facts.class === 'bug');
    for (const words of [...failures.map(({ message }) => message), ...wire.strayed, ...wire.refused])
      noteTrouble(subject, words);
    // What hangs is let go.
    stop.abort(new Error('the rehearsal is over'));
    await rm(directory, { recursive: true, force: true });
  }
}

const isEventStream = ({ request, response }: RecordedExchange): boolean =>
  request.method === 'GET' && /event-stream/.test(response.headers?.['content-type'] ?? '');

/** Through JSON, as a handle goes through the database. */
function copy(handle: Handle): Handle {
  return JSON.parse(JSON.stringify(handle));
}

function remember(): AdapterContext['cached'] {
  const known = new Map<string, Promise<unknown>>();
  return <Value>(key: string, _ttlMs: number, make: () => Promise<Value>) => {
    const value = (known.get(key) as Promise<Value> | undefined) ?? make();
    known.set(key, value);
    value.catch(() => known.delete(key));
    return value;
  };
}
