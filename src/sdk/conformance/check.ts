import type { Adapter, AdapterModel } from '../adapter.ts';
import type { TaskType } from '../task-type.ts';
import type { FixtureCase } from './fixture.ts';

/** What the suite found about one rule. */
export interface Check {
  /** `failures` */
  group: string;
  /** `one paid call, whatever goes wrong`; unique. */
  name: string;
  outcome: 'passed' | 'failed' | 'not applicable';
  /** What is wrong, a line for each case; or why the rule does not apply. */
  detail?: string;
  /** What to do about it; only when it failed. */
  fix?: string;
  /** The name of an earlier check that failed, when this one has come upon the same and found nothing more. */
  follows?: string;
}

/** What the rules look at. */
export interface Subject {
  adapter: Adapter;
  cases: FixtureCase[];
  /** Where they are known without the vendor. */
  models: Map<FixtureCase, AdapterModel[]>;
  /** Fixtures that are none: what is wrong with them. */
  unfit: string[];
  /** Cases in which the adapter waits or loops: a rehearsal of one takes so long that there is only one. In words: what takes so long. */
  stuck: Map<FixtureCase, string>;
  /** What adapters throw by mistake and recordings lack, in the words of failures; a rule that meets one has found what others find too. */
  troubles: Set<string>;
  taskType(name: string): TaskType<any, any> | undefined;
  secretsOf(each: FixtureCase): Record<string, string>;
  timeoutMs: number;
}

/** What a rule found: what is wrong, one line each (none: it is kept), or why it does not apply. */
export type Finding = string[] | { skipped: string };

/** One rule of the contract. */
export interface Rule {
  group: string;
  name: string;
  /** What an author does about it. */
  fix: string;
  /** It is about cases that are stuck, too. Default: it is not. */
  withStuck?: true;
  test(subject: Subject): Finding | Promise<Finding>;
}

/** Findings of every case that a rule is about; not applicable when there is none. */
export async function each(
  cases: FixtureCase[],
  skipped: string,
  test: (each: FixtureCase) => Promise<string[]> | string[],
): Promise<Finding> {
  if (cases.length === 0) return { skipped };
  const found: string[] = [];
  for (const one of cases) for (const line of await test(one)) found.push(`${one.name}: ${line}`);
  return found;
}

/** The cases with a network in them. */
export const overNetwork = ({ cases }: Subject): FixtureCase[] =>
  cases.filter(({ exchanges, sockets }) => exchanges.length + sockets.length > 0);

/** The cases that end well. */
export const succeeding = ({ cases }: Subject): FixtureCase[] =>
  cases.filter(({ expect }) => (expect.state ?? (expect.failure ? 'failed' : 'succeeded')) === 'succeeded');

/** Runs a rule. What it throws is a finding too. */
export async function apply(rule: Rule, subject: Subject): Promise<Check> {
  const { group, name, fix, withStuck } = rule;
  const cases = withStuck ? subject.cases : subject.cases.filter((one) => !subject.stuck.has(one));
  try {
    const found = await rule.test({ ...subject, cases });
    if (!Array.isArray(found)) {
      const detail = cases.length === 0 && subject.cases.length > 0 ? 'the adapter waits or loops' : found.skipped;
      return { group, name, outcome: 'not applicable', detail };
    }
    if (found.length === 0) return { group, name, outcome: 'passed' };
    return { group, name, outcome: 'failed', detail: [...new Set(found.map(oneLine))].join('\n'), fix };
  } catch (error) {
    return { group, name, outcome: 'failed', detail: describe(error), fix };
  }
}

/** An error, in a line. */
export function describe(error: unknown): string {
  return oneLine(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
}

const oneLine = (text: string): string => text.replace(/\s*\n\s*/g, ' ');

/** Shorter words occur by chance. */
const shortestTrouble = 8;

/** Notes what a failure says that is no failure of the vendor. */
export function noteTrouble({ troubles }: Subject, message: string): void {
  if (message.length >= shortestTrouble) troubles.add(oneLine(message));
}

/** The first of the earlier checks that has found the same; undefined when this one has found anything else, or has not failed. */
export function leaderOf(check: Check, earlier: Check[], { troubles }: Subject): string | undefined {
  if (check.outcome !== 'failed') return undefined;
  const leaders = earlier.filter(({ outcome, follows }) => outcome === 'failed' && !follows);
  const isSame = (line: string, other: string) =>
    line === other || [...troubles].some((trouble) => line.includes(trouble) && other.includes(trouble));
  const found = check
    .detail!.split('\n')
    .map((line) => leaders.find(({ detail }) => detail!.split('\n').some((other) => isSame(line, other))));
  return found.every((leader) => leader !== undefined) ? found[0]!.name : undefined;
}
