import { renderTable } from '../cli/table.ts';
import type { Client } from '../client.ts';

const pageSize = 100;

/** What a run says of one stage. */
export interface StageFacts {
  key: string;
  status: string;
  done: number;
  failed: number;
  creditsUsed: number;
}

/** What the bill is compared with: an account that did nothing but this run. */
export interface Books {
  available: number;
  held: number;
  /** Every entry of the ledger. */
  entries: LedgerEntry[];
}

export interface LedgerEntry {
  leg: string;
  amount: number;
  availableChange: number;
  heldChange: number;
  task: { tags: string[] } | null;
}

/** Every entry of the account's ledger, page by page, and what the account says itself. */
export async function readBooks(operator: Client, accountId: string): Promise<Books> {
  const query = `query ($id: ID!, $first: Int, $after: String) {
    node(id: $id) {
      ... on Account {
        available held
        ledger(first: $first, after: $after) {
          nodes { leg amount availableChange heldChange task { ... on BaseTask { tags } } }
          pageInfo { hasNextPage endCursor }
        }
      }
    }
  }`;
  const entries: LedgerEntry[] = [];
  for (let after: string | null = null; ; ) {
    const { node }: any = await operator.request(query, { id: accountId, first: pageSize, after });
    entries.push(...node.ledger.nodes);
    if (!node.ledger.pageInfo.hasNextPage) return { available: node.available, held: node.held, entries };
    after = node.ledger.pageInfo.endCursor;
  }
}

/**
 * PURE. The credits of each stage beside what the ledger captured for its tasks, which carry the ids of run and stage as tags.
 * @returns the table, and what does not agree, in words; empty: all does.
 */
export function compareBill(
  run: { id: string; creditsUsed: number; stages: StageFacts[] },
  { available, held, entries }: Books,
): { table: string; differences: string[] } {
  const captures = entries.filter(({ leg }) => leg === 'CAPTURE');
  const sum = (amounts: number[]) => amounts.reduce((total, amount) => total + amount, 0);
  const capturedFor = (key: string) =>
    sum(
      captures.filter(({ task }) => task?.tags.includes(run.id) && task.tags.includes(key)).map(({ amount }) => amount),
    );
  const differences: string[] = [];
  const compare = (what: string, said: number, booked: number) => {
    if (said !== booked) differences.push(`${what}: ${said}, but the ledger says ${booked}`);
    return said === booked ? '✓' : 'DIFFERS';
  };
  const rows = run.stages.map(({ key, status, done, failed, creditsUsed }) => {
    const captured = capturedFor(key);
    return [key, status.toLowerCase(), done, failed, creditsUsed, captured, compare(key, creditsUsed, captured)];
  });
  const all = sum(captures.map(({ amount }) => amount));
  rows.push(['sum', '', '', '', run.creditsUsed, all, compare('sum', run.creditsUsed, all)]);
  compare('available', available, sum(entries.map(({ availableChange }) => availableChange)));
  compare('held', held, sum(entries.map(({ heldChange }) => heldChange)));
  if (held !== 0) differences.push(`held: ${held} are left after the end of the run`);
  return {
    table: renderTable(['stage', 'status', 'done', 'failed', 'credits', 'in the ledger', ''], rows),
    differences,
  };
}
