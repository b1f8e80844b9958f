import { each, overNetwork, type Rule, type Subject } from './check.ts';
import type { FixtureCase } from './fixture.ts';
import { type Rehearsal, type RehearsalOptions, rehearse, replay } from './rehearsal.ts';
import { watchTimers } from './timers.ts';
import { isFor, type Sent } from './wire.ts';

const soonMs = 1_000;
/** An answer comes at once in a rehearsal: what takes longer waits, unless the machine is busy, so the shortest of some tries counts. */
const longestCallMs = 100;
/** From here on it is no use to rehearse the case with every fault: there are hundreds. */
const stuckMs = 1_000;
/** A timer of 0 may take a moment. */
const longestTimerMs = 5;
const tries = 3;
const mostRequests = 3;
const phases = ['start', 'poll', 'follow'] as const;

/** The rhythm is Atelier's: an adapter neither waits nor loops, and lets go at once. */
export const waitingRules: Rule[] = [
  {
    group: 'calls',
    name: 'nothing waits or loops: poll looks once, a stream ends with its source',
    fix: 'No sleep, no timer, no loop, no connecting again: make the requests of one look and return what they say; yield what a stream says, and return when it ends. Atelier sets the rhythm, and polls a job whose stream has ended.',
    withStuck: true,
    test: (subject) =>
      each(overNetwork(subject), 'no fixture has exchanges', async (one) => {
        const stuck = subject.stuck.get(one);
        if (stuck) return [stuck];
        const { streamed } = await replay(subject, one);
        const found = await slow(subject, one, { looks: 1, silent: true });
        if (streamed === 'follow') found.push(...(await slow(subject, one, { looks: 0 })));
        return found;
      }),
  },
  {
    group: 'calls',
    name: 'an abort is heeded',
    fix: 'Await context.fetch directly, and hand context.signal to whatever else waits; start must reject when it aborts, and a stream must end.',
    test: (subject) =>
      each(subject.cases, 'there are no fixtures', async (one) => {
        const { seen, tookMs, isAborted } = await aborting(subject, one, { fault: () => 'hang', until: 'start' });
        if (seen.hung || (isAborted && tookMs > soonMs)) return [`start goes on for ${tookMs} ms after it`];
        if (seen.wire.sent.length > 1) return [`start sends ${seen.wire.sent.length} requests`];
        if (seen.wire.sent.length > 0 && !seen.failure) return ['start gives an answer that nobody sent'];
        const { streamed } = await replay(subject, one);
        if (!streamed) return [];
        const isSource = sourceOf(one);
        const late = await aborting(subject, one, {
          fault: (sent) => (sent.phase === streamed && isSource(sent) ? 'stall' : undefined),
          looks: 0,
        });
        const goesOn = late.seen.hung || (late.isAborted && late.tookMs > soonMs);
        return goesOn ? [`the stream of ${streamed} goes on for ${late.tookMs} ms after it`] : [];
      }),
  },
];

/** What goes on for so long, or without end, that the case cannot be played again and again; undefined: nothing does. */
export async function stuckAt(subject: Subject, one: FixtureCase): Promise<string | undefined> {
  let words: string | undefined;
  for (let count = 0; count < tries; count++) {
    const seen = count === 0 ? await replay(subject, one) : await rehearse(subject, one, { looks: 1 });
    const late = phases.find((phase) => (seen.tookMs[phase] ?? 0) > stuckMs);
    if (seen.hung) words = `${seen.hung} does not end`;
    else if (late) words = `${late} takes ${Math.round(seen.tookMs[late]!)} ms`;
    else return seen.streamed && (await goingOn(subject, one, seen.streamed))[0];
  }
  return words;
}

/** What takes longer than answers do, waits for a timer, or asks too often. */
async function slow(subject: Subject, one: FixtureCase, options: RehearsalOptions): Promise<string[]> {
  const found = new Set<string>();
  const shortestMs = { start: Infinity, poll: Infinity, follow: Infinity, timer: Infinity };
  for (let count = 0; count < tries; count++) {
    const timers = watchTimers();
    const { hung, wire, tookMs } = await rehearse(subject, one, { ...options, within: timers.within });
    timers.stop();
    if (hung) return [`${hung} does not end`];
    shortestMs.timer = Math.min(shortestMs.timer, timers.waitedMs());
    for (const phase of phases) {
      shortestMs[phase] = Math.min(shortestMs[phase], tookMs[phase] ?? 0);
      const urls = wire.sent.filter((sent) => sent.phase === phase).map(({ url }) => url);
      // Beside its source, a stream may ask for this and that: not for the same again and again.
      const counted = phase === 'follow' ? urls.filter((url) => url === mostOf(urls)) : urls;
      if (counted.length > mostRequests)
        found.add(`one ${phase} makes ${counted.length} requests${phase === 'follow' ? ` to ${counted[0]}` : ''}`);
    }
    if (shortestMs.timer <= longestTimerMs && phases.every((phase) => shortestMs[phase] <= longestCallMs)) break;
  }
  for (const phase of phases)
    if (shortestMs[phase] > longestCallMs) found.add(`${phase} takes ${Math.round(shortestMs[phase])} ms`);
  if (shortestMs.timer > longestTimerMs)
    found.add(`it waits ${Math.round(shortestMs.timer)} ms for a timer of its own`);
  return [...found];
}

/** The one that occurs most often. */
function mostOf(urls: string[]): string | undefined {
  const count = (url: string) => urls.filter((other) => other === url).length;
  return urls.toSorted((one, other) => count(other) - count(one))[0];
}

/** What a stream does when its source ends without having told an outcome. */
async function goingOn(subject: Subject, one: FixtureCase, streamed: 'start' | 'follow'): Promise<string[]> {
  const isSource = sourceOf(one);
  const isSourceOf = (sent: Sent) => sent.phase === streamed && isSource(sent);
  const { hung, wire } = await rehearse(subject, one, {
    fault: (sent) => (isSourceOf(sent) ? 'short' : undefined),
    looks: 0,
  });
  const times = wire.sent.filter(isSourceOf).length;
  if (times > 1) return [`the stream of ${streamed} is opened ${times} times when its source ends early`];
  return hung ? [`the stream of ${streamed} goes on when its source has ended`] : [];
}

/** What tells a stream what it yields: a WebSocket, an event stream; else whatever it asks for. */
function sourceOf(one: FixtureCase): (sent: Sent) => boolean {
  const streams = one.exchanges.filter(({ response }) => /event-stream/.test(response.headers?.['content-type'] ?? ''));
  if (streams.length + one.sockets.length === 0) return () => true;
  return (sent) => /^wss?:/.test(sent.url) || streams.some(({ request }) => isFor(request, sent));
}

/** Aborts it in the middle. */
async function aborting(
  subject: Subject,
  one: FixtureCase,
  options: RehearsalOptions,
): Promise<{ seen: Rehearsal; tookMs: number; isAborted: boolean }> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort('cancelled'), 20);
  const begun = performance.now();
  const seen = await rehearse(subject, one, { ...options, signal: stop.signal });
  clearTimeout(timer);
  return { seen, tookMs: Math.round(performance.now() - begun), isAborted: stop.signal.aborted };
}
