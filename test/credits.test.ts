import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Refusal } from '../src/errors.ts';
import { createTask } from '../src/lifecycle/create.ts';
import { changeCredits } from '../src/lifecycle/credits.ts';
import { creditsFor, pricesFor } from '../src/lifecycle/prices.ts';
import { finish } from '../src/lifecycle/status.ts';
import { createTestBed, type TestBed } from './kit.ts';
import { scriptedAdapter } from './scripted-adapter.ts';

let bed: TestBed;
beforeAll(async () => {
  bed = await createTestBed({ adapters: [scriptedAdapter().adapter], worker: false });
});
afterAll(() => bed.close());

async function accountWith(credits: number) {
  const { uuid } = await bed.createAccount(credits);
  const [project] = await bed.sql<{ id: string }>('select id from project where account_id = $1', [uuid]);
  return { accountId: uuid, projectId: project!.id };
}
const image = (sent: unknown, more: object = {}) => ({
  type: 'generate_image',
  provider: 'scripted',
  input: { prompt: 'x' },
  sent,
  ...more,
});
async function balance(accountId: string) {
  const [row] = await bed.sql('select available, held from account where id = $1', [accountId]);
  return row;
}
async function sums(accountId: string) {
  const [row] = await bed.sql(
    'select sum(available_change)::int8 as available, sum(held_change)::int8 as held from ledger_entry where account_id = $1',
    [accountId],
  );
  return row;
}

describe('submits at once', () => {
  it('never spend the same credit twice', async () => {
    const caller = await accountWith(40);
    const made = await Promise.allSettled(Array.from({ length: 60 }, (_, n) => createTask(bed.core, caller, image(n))));
    expect(made.filter((one) => one.status === 'fulfilled')).toHaveLength(10);
    for (const one of made) {
      if (one.status === 'rejected')
        expect(one.reason).toMatchObject({ kind: 'InsufficientCreditsError', facts: { required: 4, available: 0 } });
    }
    expect(await balance(caller.accountId)).toEqual({ available: 0n, held: 40n });
    expect(await sums(caller.accountId)).toEqual({ available: 0n, held: 40n });
  });

  it('with one idempotency key make one task and one hold', async () => {
    const caller = await accountWith(1_000);
    const made = await Promise.all(
      Array.from({ length: 60 }, () => createTask(bed.core, caller, image('same', { idempotencyKey: 'once' }))),
    );
    expect(new Set(made.map(({ task }) => task.id)).size).toBe(1);
    expect(made.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(await balance(caller.accountId)).toEqual({ available: 996n, held: 4n });
  });
});

describe('an idempotency key', () => {
  it('with another input is a mismatch that names the first task, before any other check', async () => {
    const caller = await accountWith(4);
    const { task } = await createTask(bed.core, caller, image({ a: 1 }, { idempotencyKey: 'k' }));
    for (const input of [{ prompt: 'y' }, { prompt: '' }, { prompt: 'x', width: 1 }]) {
      await expect(
        createTask(bed.core, caller, image({ input }, { idempotencyKey: 'k', input })),
      ).rejects.toMatchObject({
        kind: 'IdempotencyMismatchError',
        facts: { existingId: expect.stringMatching(/^task_/) },
      });
    }
    const again = await createTask(bed.core, caller, image({ a: 1, b: null }, { idempotencyKey: 'k' }));
    expect(again).toMatchObject({ replayed: true, task: { id: task.id } });
  });

  it('is not used up by a refusal', async () => {
    const caller = await accountWith(0);
    await expect(createTask(bed.core, caller, image(1, { idempotencyKey: 'k' }))).rejects.toBeInstanceOf(Refusal);
    await changeCredits(bed.core, { accountId: caller.accountId, leg: 'GRANT', change: 4, idempotencyKey: 'g' });
    expect(await createTask(bed.core, caller, image(1, { idempotencyKey: 'k' }))).toMatchObject({ replayed: false });
  });
});

describe('a caller who is narrowed to a project', () => {
  it('learns nothing of another project by its idempotency keys', async () => {
    const caller = await accountWith(100);
    await createTask(bed.core, caller, image(1, { idempotencyKey: 'k' }));
    const [other] = await bed.sql<{ id: string }>(
      `insert into project (account_id, name) values ($1, 'other') returning id`,
      [caller.accountId],
    );
    const narrowed = { ...caller, projectId: other!.id, only: { projectId: other!.id } };
    for (const sent of [1, 2]) {
      const refused = createTask(bed.core, narrowed, image(sent, { idempotencyKey: 'k' }));
      await expect(refused).rejects.toMatchObject({ kind: 'ConflictError', code: 'IDEMPOTENCY_KEY_TAKEN', facts: {} });
    }
    await expect(
      createTask(bed.core, narrowed, image(1, { idempotencyKey: 'k', input: { prompt: '' } })),
    ).rejects.toMatchObject({ kind: 'ConflictError' });
  });
});

describe('a key that cannot be kept', () => {
  it.each(['', 'a\0', '\ud800', 'x'.repeat(256)])('is refused: %j', async (idempotencyKey) => {
    const caller = await accountWith(100);
    await expect(createTask(bed.core, caller, image(1, { idempotencyKey }))).rejects.toMatchObject({
      kind: 'ValidationError',
      facts: { issues: [{ path: ['idempotencyKey'] }] },
    });
  });
});

describe('grants and adjustments', () => {
  it('count once per key, and refuse another change under it', async () => {
    const { accountId } = await accountWith(0);
    const grant = { accountId, leg: 'GRANT' as const, change: 10, idempotencyKey: 'g' };
    const entries = await Promise.all(Array.from({ length: 20 }, () => changeCredits(bed.core, grant)));
    expect(new Set(entries.map((entry) => entry.id)).size).toBe(1);
    await expect(changeCredits(bed.core, { ...grant, change: 11 })).rejects.toMatchObject({
      kind: 'IdempotencyMismatchError',
    });
    expect(await balance(accountId)).toEqual({ available: 10n, held: 0n });
  });

  it.each([
    { leg: 'GRANT', change: -1 },
    { leg: 'GRANT', change: 0 },
    { leg: 'ADJUST', change: 0 },
    { leg: 'ADJUST', change: -11 },
    { leg: 'ADJUST', change: 1, note: ' ' },
    { leg: 'GRANT', change: 1.5 },
    { leg: 'GRANT', change: Number.MAX_SAFE_INTEGER },
  ] as { leg: 'GRANT' | 'ADJUST'; change: number; note?: string }[])(
    'refuse $leg of $change',
    async ({ leg, change, note = 'why' }) => {
      const { accountId } = await accountWith(10);
      await expect(
        changeCredits(bed.core, { accountId, leg, change, note, idempotencyKey: 'k' }),
      ).rejects.toMatchObject({
        kind: 'ValidationError',
      });
      expect(await balance(accountId)).toEqual({ available: 10n, held: 0n });
    },
  );

  it('stand in a ledger that nobody can rewrite', async () => {
    await expect(bed.sql('update ledger_entry set amount = 0')).rejects.toThrow('append-only');
    await expect(bed.sql('delete from ledger_entry')).rejects.toThrow('append-only');
  });
});

describe("a run's hold", () => {
  async function openHold(caller: { accountId: string }, amount: number): Promise<string> {
    const [hold] = await bed.sql<{ id: string }>('select id from hold_add($1, uuid_v7(), $2)', [
      caller.accountId,
      amount,
    ]);
    return hold!.id;
  }

  it('is drawn on by its tasks, takes their rest back, and gives its own rest to the account', async () => {
    const caller = await accountWith(100);
    const holdId = await openHold(caller, 10);
    expect(await balance(caller.accountId)).toEqual({ available: 90n, held: 10n });
    const first = (await createTask(bed.core, caller, image(1, { holdId }))).task;
    const second = (await createTask(bed.core, caller, image(2, { holdId }))).task;
    await expect(createTask(bed.core, caller, image(3, { holdId }))).rejects.toMatchObject({
      facts: { required: 4, available: 2 },
    });

    await finish(bed.core, { id: first.id, fence: null }, { status: 'FAILED', charge: 1 });
    const [hold] = await bed.sql('select remaining from hold where id = $1', [holdId]);
    expect(hold).toEqual({ remaining: 5n });
    expect(await balance(caller.accountId)).toEqual({ available: 90n, held: 9n });

    await bed.sql('select hold_close($1)', [holdId]);
    expect(await balance(caller.accountId)).toEqual({ available: 95n, held: 4n });
    await finish(bed.core, { id: second.id, fence: null }, { status: 'CANCELLED' });
    expect(await balance(caller.accountId)).toEqual({ available: 99n, held: 0n });
    expect(await sums(caller.accountId)).toEqual({ available: 99n, held: 0n });
  });
});

describe('prices', () => {
  const row = (provider: string | null, model: string | null, creditsPerUnit: string, from = 0) => ({
    taskType: 't',
    provider,
    model,
    unit: 'u',
    creditsPerUnit,
    effectiveFrom: new Date(from),
  });

  it('come from the most specific row in force, of equals the newest', () => {
    const rows = [
      row(null, null, '1'),
      row('p', null, '2'),
      row('p', 'm', '3'),
      row('p', 'm', '4', 10),
      row('p', 'm', '5', 1_000),
    ];
    const at = new Date(100);
    expect(pricesFor(rows, 't', 'p', 'm', at)).toEqual([{ unit: 'u', creditsPerUnit: '4' }]);
    expect(pricesFor(rows, 't', 'p', 'n', at)).toEqual([{ unit: 'u', creditsPerUnit: '2' }]);
    expect(pricesFor(rows, 't', 'q', 'm', at)).toEqual([{ unit: 'u', creditsPerUnit: '1' }]);
  });

  it.each([
    { usage: [{ unit: 'u', quantity: 3 }], price: '0.1', credits: 1 },
    {
      usage: [
        { unit: 'u', quantity: 0.1 },
        { unit: 'u', quantity: 0.2 },
      ],
      price: '10',
      credits: 3,
    },
    { usage: [{ unit: 'u', quantity: 7 }], price: '0', credits: 0 },
    { usage: [{ unit: 'v', quantity: 7 }], price: '1', credits: null },
    { usage: [{ unit: 'u', quantity: Number.NaN }], price: '1', credits: null },
    { usage: [{ unit: 'u', quantity: -1 }], price: '1', credits: null },
    { usage: [{ unit: 'u', quantity: 1 }], price: '100000000000000.000000000001', credits: 100_000_000_000_001 },
  ])('$usage at $price: $credits', ({ usage, price, credits }) => {
    expect(creditsFor(usage, [{ unit: 'u', creditsPerUnit: price }])).toBe(credits);
  });
});
