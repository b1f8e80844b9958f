import { isDeepStrictEqual } from 'node:util';
import type { Observation } from '../adapter.ts';
import { type FailureFacts, failureClasses } from '../failure.ts';
import { refusal } from '../hosts.ts';
import { configOf } from './case.ts';
import { each, overNetwork, type Rule, succeeding } from './check.ts';
import { withoutFiles, withoutWords, wordsOf } from './emptied.ts';
import type { FixtureCase, RecordedResponse } from './fixture.ts';
import { type Rehearsal, rehearse, replay } from './rehearsal.ts';
import { misshapenOutputs } from './transformers.ts';
import { holds, isRecord, leaves, mapped, show } from './value.ts';
import type { Sent } from './wire.ts';

const noFixtures = 'there are no fixtures';
const noNetwork = 'no fixture has exchanges';
const mostHandleBytes = 4_096;
/** A word that no vendor will ever use. */
const unknownStatus = 'zzz_no_such_status';

/** What the recorded answers of the vendor become. */
export const answerRules: Rule[] = [
  {
    group: 'network',
    name: 'only declared hosts are reached',
    fix: 'Name every host in hosts(config), and those that serve outputs in assetHosts(config). Use context.fetch, never fetch.',
    test: (subject) =>
      each(subject.cases, noFixtures, async (one) => {
        const seen = await replay(subject, one);
        const config = configOf(subject.adapter, one);
        const assetHosts = subject.adapter.assetHosts?.(config) ?? subject.adapter.hosts?.(config) ?? [];
        const found = [...seen.bypasses, ...seen.wire.refused];
        for (const [index, { from }] of (seen.produced?.outputs ?? []).entries()) {
          const refused = 'url' in from ? refusal(assetHosts, 'assetHosts')(from.url, /^https?:$/) : null;
          if (refused) found.push(`output ${index} ${refused}`);
        }
        return found;
      }),
  },
  {
    group: 'answers',
    name: 'what is sent is what was recorded',
    fix: 'Record the missing exchange in the fixture, or mend the request: `json` in a fixture holds what must be sent.',
    test: (subject) => each(overNetwork(subject), noNetwork, async (one) => (await replay(subject, one)).wire.strayed),
  },
  {
    group: 'answers',
    name: 'every recorded case ends as it says',
    fix: "What the adapter throws by mistake, mend first. Else compare the fixture's `expect` with what comes of its answers.",
    test: (subject) => each(subject.cases, noFixtures, async (one) => unexpected(one, await replay(subject, one))),
  },
  {
    group: 'answers',
    name: 'observations are of the closed set',
    fix: 'Return queued, running, succeeded, failed or cancelled as Observation says; a code is UPPER_SNAKE, a progress 0 to 1.',
    test: (subject) =>
      each(subject.cases, noFixtures, async (one) => {
        const { observations, failure, looks } = await replay(subject, one);
        const failures = [...(failure ? [failure] : []), ...looks];
        return [...observations.flatMap(malformed), ...failures.flatMap(malformedFailure)];
      }),
  },
  {
    group: 'answers',
    name: 'a status that nobody knows is running',
    fix: 'End your mapping of states with `default: return { state: "running" }`: vendors add words, and the deadline ends what never ends.',
    async test(subject) {
      const pollable = overNetwork(subject).filter(hasStatus);
      return each(pollable, 'no recorded answer to GET has a status field', async (one) => {
        let isUnknown = false;
        const change = (response: RecordedResponse, { phase }: Sent) => {
          const changed = phase === 'poll' ? withUnknownStatus(one, response) : response;
          isUnknown ||= !isDeepStrictEqual(changed, response);
          return changed;
        };
        const queued: string[] = [];
        const within = <Value>(begin: () => Value): Value => {
          isUnknown = false;
          const value = begin();
          // Of a job that stands in a list, and has no status there, it is no guess.
          const note = (seen: any) => isUnknown && seen?.state === 'queued' && queued.push('it becomes queued');
          Promise.resolve(value).then(note, () => {});
          return value;
        };
        const { handle, observations, looks, failure } = await rehearse(subject, one, {
          change,
          within,
          looks: 3,
          silent: true,
        });
        if (!handle) return [];
        const states = new Set([
          ...observations.map(({ state }) => state),
          ...(failure ? ['failed'] : []),
          ...looks.map((look) => `${look.class}: ${look.message}`),
        ]);
        const others = [...states].filter((state) => state !== 'running' && state !== 'queued');
        return [...others.map((state) => `it becomes ${state}`), ...queued.slice(0, 1)];
      });
    },
  },
  {
    group: 'answers',
    name: 'success without an output is a failure',
    fix: 'When the vendor says that it is done and names no output, or gives an empty text, throw an AdapterFailure { class: "permanent", code: "NO_OUTPUT" } or return no outputs.',
    test(subject) {
      const network = overNetwork(subject);
      const giving = succeeding(subject).filter((one) => network.includes(one));
      return each(giving, 'no recorded case succeeds', async (one) => {
        const good = await rehearse(subject, one, { silent: true });
        if (!good.produced) return [];
        const words = wordsOf(good.produced);
        const isFile = good.produced.outputs.length > 0;
        const last = good.wire.sent.filter(({ phase }) => phase !== 'start').at(-1);
        const change = (response: RecordedResponse, sent: Sent) => {
          if (last !== undefined && sent.phase !== last.phase) return response;
          return isFile ? withoutFiles(response) : withoutWords(response, [...words.values()]);
        };
        const { state, produced, failure, looks } = await rehearse(subject, one, { change, silent: true });
        const failures = [...(failure ? [failure] : []), ...looks].filter((facts) => facts.class === 'bug');
        if (failures.length > 0) return failures.map(({ message }) => `it throws: ${message}`);
        if (state !== 'succeeded' || !produced) return [];
        if (isFile) return misshapenOutputs(produced);
        const left = leaves(produced.result);
        return [...words.keys()]
          .filter((path) => String(left.get(path) ?? '').trim() === '')
          .map((path) => `${path} of the result is empty`);
      });
    },
  },
  {
    group: 'answers',
    name: 'progress does not fall',
    fix: 'Report a fraction from 0 to 1 that only rises; leave it out where the vendor gives none.',
    test: (subject) =>
      each(subject.cases, noFixtures, async (one) => {
        const { observations, progress } = await replay(subject, one);
        const seen = observations.flatMap((each) =>
          each?.state === 'running' && each.progress !== undefined ? [each.progress] : [],
        );
        return [...falls(seen), ...falls(progress)];
      }),
  },
  {
    group: 'handles',
    name: 'a handle is small, versioned JSON',
    fix: 'Return { v: 1, id: … }: what it takes to find the job, and no more. No dates, classes, undefined, secrets.',
    test(subject) {
      return each(subject.cases, noFixtures, async (one) => {
        const { handle } = await rehearse(subject, one, { until: 'start' });
        if (handle === undefined) return [];
        const text = JSON.stringify(handle);
        if (!isRecord(handle) || text === undefined) return [`it is ${show(handle)}`];
        const found = isDeepStrictEqual(JSON.parse(text), handle) ? [] : ['it does not survive JSON'];
        if (typeof handle.v !== 'number') found.push('it has no version `v`');
        if (text.length > mostHandleBytes) found.push(`it has ${text.length} bytes; ${mostHandleBytes} are enough`);
        return found;
      });
    },
  },
];

function unexpected({ expect }: FixtureCase, seen: Rehearsal): string[] {
  const wanted = typeof expect.failure === 'string' ? { class: expect.failure } : expect.failure;
  const state = expect.state ?? (wanted ? 'failed' : 'succeeded');
  const found: string[] = [];
  const reason = seen.failure ?? seen.looks.at(-1);
  if (seen.state !== state && !(wanted && reason))
    found.push(
      `it ends ${seen.state}, not ${state}${reason ? ` (${reason.class} ${reason.code}: ${reason.message})` : ''}`,
    );
  if (wanted) found.push(...holds(reason, wanted, 'failure'));
  const { outputs, result, usage, cost } = seen.produced ?? {};
  const compare = (value: unknown, expected: unknown, name: string) => {
    if (expected !== undefined && state === 'succeeded' && found.length === 0)
      found.push(...holds(value, expected, name));
  };
  compare(outputs?.length, expect.outputs, 'the number of outputs');
  compare(result, expect.result, 'result');
  compare(usage ?? null, expect.usage, 'usage');
  compare(cost, expect.cost, 'cost');
  compare(typeof expect.warnings === 'number' ? seen.warnings.length : seen.warnings, expect.warnings, 'warnings');
  const text = seen.observations.map((each) => (each.state === 'running' ? (each.text ?? '') : '')).join('');
  compare(text, expect.text, 'the streamed text');
  return found;
}

const states = ['queued', 'running', 'succeeded', 'failed', 'cancelled'];

/** What is wrong with an observation. */
export function malformed(observation: Observation): string[] {
  if (!isRecord(observation) || !states.includes(observation.state)) return [`${show(observation)} is no observation`];
  if (observation.state === 'failed') return malformedFailure(observation.failure);
  if (observation.state === 'queued') {
    const { position } = observation;
    return position === undefined || (Number.isInteger(position) && position >= 0)
      ? []
      : [`the position is ${show(position)}`];
  }
  if (observation.state !== 'running') return [];
  const { progress, logs, text, partial } = observation;
  return [
    ...(partial ? misshapenOutputs({ outputs: [partial], result: undefined }).map((line) => `partial: ${line}`) : []),
    ...(progress === undefined || (progress >= 0 && progress <= 1) ? [] : [`the progress is ${show(progress)}`]),
    ...(logs === undefined || (Array.isArray(logs) && logs.every((line) => typeof line === 'string'))
      ? []
      : [`the logs are ${show(logs)}`]),
    ...(text === undefined || typeof text === 'string' ? [] : [`the text is ${show(text)}`]),
  ];
}

/** What is wrong with the facts of a failure. */
export function malformedFailure(facts: FailureFacts | undefined): string[] {
  if (!isRecord(facts)) return [`${show(facts)} is no failure`];
  const found = failureClasses.includes(facts.class) ? [] : [`the class is ${show(facts.class)}`];
  if (!/^[A-Z][A-Z0-9_]*$/.test(String(facts.code))) found.push(`the code ${show(facts.code)} is not UPPER_SNAKE`);
  if (typeof facts.message !== 'string' || facts.message === '') found.push(`the message is ${show(facts.message)}`);
  return found;
}

const isStatus = ({ statusFields }: FixtureCase, name: string): boolean =>
  statusFields ? statusFields.includes(name) : /status|state|phase/i.test(name);

function hasStatus(one: FixtureCase): boolean {
  return one.exchanges.some(
    ({ request, response }) =>
      request.method === 'GET' && !isDeepStrictEqual(withUnknownStatus(one, response), response),
  );
}

function withUnknownStatus(one: FixtureCase, response: RecordedResponse): RecordedResponse {
  const change = (value: unknown, name: string) =>
    typeof value === 'string' && isStatus(one, name) && !/^https?:/.test(value) ? unknownStatus : value;
  return response.json === undefined ? response : { ...response, json: mapped(response.json, change) };
}

function falls(seen: number[]): string[] {
  const index = seen.findIndex((fraction, at) => at > 0 && fraction < seen[at - 1]!);
  const found = index > 0 ? [`it falls from ${seen[index - 1]} to ${seen[index]}`] : [];
  const wild = seen.find((fraction) => !(fraction >= 0 && fraction <= 1));
  return wild === undefined ? found : [...found, `it is ${wild}`];
}
