import type { Adapter } from './adapter.ts';
import { answerRules } from './conformance/answers.ts';
import { callbackRules } from './conformance/callbacks.ts';
import { callRules } from './conformance/calls.ts';
import { configOf, inputOf, modelsFor } from './conformance/case.ts';
import { apply, type Check, leaderOf, overNetwork, type Rule, type Subject } from './conformance/check.ts';
import { countingRule } from './conformance/counting.ts';
import { failureRules } from './conformance/failures.ts';
import { type Fixture, type FixtureCase, toCase } from './conformance/fixture.ts';
import { manifestRules } from './conformance/manifest.ts';
import { secretRules } from './conformance/secrets.ts';
import { transformerRules } from './conformance/transformers.ts';
import { stuckAt } from './conformance/waiting.ts';
import type { TaskType } from './task-type.ts';

export type { Check } from './conformance/check.ts';
export { type Fixture, readFixtures } from './conformance/fixture.ts';
export { printCheck, printChecks, printFindings } from './conformance/report.ts';

/** What {@link checkAdapter} goes by. */
export interface CheckOptions {
  /** Recorded exchanges with the vendor; see {@link readFixtures}. At least one for each task type, unless the adapter runs here without a network. */
  fixtures: Fixture[];
  /** Where these are given, inputs are completed with their defaults and results are checked. `atelier adapter check` gives the built-in ones. Default: none. */
  taskTypes?: TaskType<any, any>[];
  /** Made-up values of secrets, where any text will not do. Default: a text for each that is declared. */
  secrets?: Record<string, string>;
  /** The longest that one call of the adapter may take. Milliseconds, default 5,000; more counts only in cases without exchanges: there it does the work itself. */
  timeoutMs?: number;
  /** Called with each check as soon as it is done. Default: nothing is. */
  onCheck?(check: Check): void;
}

/** After what is known without playing a case. */
const playedRules: Rule[] = [
  ...transformerRules,
  countingRule,
  ...answerRules,
  ...failureRules,
  ...callRules,
  ...callbackRules,
  ...secretRules,
];

/**
 * The conformance suite: plays the recorded cases in memory, with every fault that a network has, and looks whether the adapter keeps the rules of the
 * contract. Needs no network, no server and no key.
 *
 * ```ts
 * for (const check of await checkAdapter(adapter, { fixtures: readFixtures(new URL('./fixtures/', import.meta.url)) }))
 *   test(check.name, () => requirePassed(check));
 * ```
 * @returns one check for each rule, always the same ones in the same order.
 */
export async function checkAdapter(adapter: Adapter, options: CheckOptions): Promise<Check[]> {
  const subject = await prepare(adapter, options);
  const checks: Check[] = [];
  const run = async (rules: Rule[]) => {
    for (const rule of rules) {
      const check = await apply(rule, subject);
      const follows = leaderOf(check, checks, subject);
      checks.push(follows ? { ...check, follows } : check);
      options.onCheck?.(checks.at(-1)!);
    }
  };
  await run(manifestRules);
  await findStuck(subject);
  await run(playedRules);
  return checks;
}

/** @throws Error with what is wrong and what to do, for a check that failed. What does not apply passes. */
export function requirePassed({ name, outcome, detail, fix }: Check): void {
  if (outcome === 'failed') throw new Error(`${name}\n${detail}\n→ ${fix}`);
}

async function prepare(adapter: Adapter, options: CheckOptions): Promise<Subject> {
  const { fixtures, taskTypes = [], secrets = {}, timeoutMs = 5_000 } = options;
  const declared = Object.keys(adapter.secrets ?? {});
  const subject: Subject = {
    adapter,
    cases: [],
    models: new Map(),
    unfit: [],
    stuck: new Map(),
    troubles: new Set(),
    timeoutMs,
    taskType: (name) => taskTypes.find((type) => type.name === name),
    secretsOf: (each) => ({
      ...Object.fromEntries(declared.map((name) => [name, `conformance-${name.toLowerCase().replaceAll('_', '-')}`])),
      ...secrets,
      ...each.secrets,
    }),
  };
  for (const [index, fixture] of fixtures.entries()) {
    try {
      subject.cases.push(await fitting(subject, toCase(fixture, index)));
    } catch (error) {
      subject.unfit.push(`${fixture.file ?? fixture.name ?? `case ${index + 1}`}: ${reasonOf(error)}`);
    }
  }
  return subject;
}

async function findStuck(subject: Subject): Promise<void> {
  for (const one of overNetwork(subject)) {
    // What is thrown here, the rules come upon and tell.
    const words = await stuckAt(subject, one).catch(() => undefined);
    if (words) subject.stuck.set(one, words);
  }
}

/** @throws when the adapter has no such transformer, or its schemas refuse what the fixture holds. */
async function fitting(subject: Subject, each: FixtureCase): Promise<FixtureCase> {
  if (!subject.adapter.transformers[each.taskType]) throw new TypeError(`there is no transformer for ${each.taskType}`);
  configOf(subject.adapter, each);
  const models = await modelsFor(subject, each);
  if (models) subject.models.set(each, models);
  inputOf(subject, each);
  return each;
}

/** Each issue of a schema as `field: what is wrong`. */
function reasonOf(error: unknown): string {
  const { issues, message } = error as Error & { issues?: { path: PropertyKey[]; message: string }[] };
  return issues?.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; ') ?? message;
}
