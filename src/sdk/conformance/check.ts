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
}

/** What the rules look at. */
export interface Subject {
  adapter: Adapter;
  cases: FixtureCase[];
  /** Where they are known without the vendor. */
  models: Map<FixtureCase, AdapterModel[]>;
  /** Fixtures that are none: what is wrong with them. */
  unfit: string[];
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
  const { group, name, fix } = rule;
  try {
    const found = await rule.test(subject);
    if (!Array.isArray(found)) return { group, name, outcome: 'not applicable', detail: found.skipped };
    if (found.length === 0) return { group, name, outcome: 'passed' };
    return { group, name, outcome: 'failed', detail: [...new Set(found)].join('\n'), fix };
  } catch (error) {
    return { group, name, outcome: 'failed', detail: describe(error), fix };
  }
}

/** An error, in a line. */
export function describe(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
