import type { Account, LedgerEntry } from '../db.ts';
import { forbidden, notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { type CreditChange, changeCredits } from '../lifecycle/credits.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';

/** One entry of the caller's ledger, or null. */
export async function findLedgerEntry(context: GraphContext, id: string): Promise<LedgerEntry | null> {
  requireScope(context, 'account');
  const uuid = fromId('LedgerEntry', id);
  return uuid
    ? context.core.db.prisma.ledgerEntry.findFirst({ where: { id: uuid, accountId: context.caller.accountId } })
    : null;
}

/** LedgerEntry, `grantCredits`, `adjustCredits`. */
export function addLedger(graph: Graph): void {
  const { builder, Node, Task } = graph;
  const LedgerLeg = builder.enumType('LedgerLeg', {
    description: 'What an entry of the ledger does.',
    values: {
      GRANT: { description: 'The operator gave credits.' },
      ADJUST: { description: 'The operator corrected the balance.' },
      HOLD: { description: "Available becomes held: a task's quote, or a run's hold." },
      DRAW: { description: "A task took its quote from its run's hold; the balance stays." },
      CAPTURE: { description: 'Held is spent.' },
      RELEASE: { description: 'Held that was not spent goes back.' },
    },
  });
  const LedgerEntry = builder.prismaObject('LedgerEntry', {
    description: 'One change of an account. The ledger is append-only.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the entry.', resolve: (entry) => toId('LedgerEntry', entry.id) }),
      leg: t.field({ type: LedgerLeg, description: 'What it does.', resolve: (entry) => entry.leg as never }),
      amount: t.expose('amount', { type: 'Credits', description: 'How many credits it is about.' }),
      availableChange: t.expose('availableChange', {
        type: 'SafeInt',
        description: 'By how much it changed available.',
      }),
      heldChange: t.expose('heldChange', { type: 'SafeInt', description: 'By how much it changed held.' }),
      availableAfter: t.field({
        type: 'Credits',
        description: 'Available right after it.',
        resolve: (entry, _args, context) => {
          requireBalance(context);
          return entry.availableAfter;
        },
      }),
      heldAfter: t.field({
        type: 'Credits',
        description: 'Held right after it.',
        resolve: (entry, _args, context) => {
          requireBalance(context);
          return entry.heldAfter;
        },
      }),
      task: t.field({
        type: Task,
        nullable: true,
        description: 'The task it is about; null when it is about none, and when the task was deleted.',
        resolve: async (entry, _args, { core, load }) => {
          const task = entry.taskId ? await load.task.load(entry.taskId) : null;
          return task && core.registry.taskType(task.type) ? task : null;
        },
      }),
      runId: t.id({
        nullable: true,
        description: 'The run whose hold it is about.',
        resolve: (entry) => (entry.runId ? toId('Run', entry.runId) : null),
      }),
      note: t.exposeString('note', { nullable: true, description: "The operator's words." }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was written.' }),
    }),
  });
  const Success = builder.objectRef<{ account: Account; entry: LedgerEntry }>('CreditsSuccess').implement({
    description: 'The balance was changed, or had been by an earlier call with this key.',
    fields: (t) => ({
      account: t.field({
        type: 'Account',
        description: 'The account as it is now.',
        resolve: ({ account }) => account,
      }),
      entry: t.field({ type: LedgerEntry, description: 'The entry that says so.', resolve: ({ entry }) => entry }),
    }),
  });
  const result = resultUnion(graph, 'CreditsResult', Success, [
    'ValidationError',
    'IdempotencyMismatchError',
    'NotFoundError',
  ]);

  builder.mutationFields((t) => {
    const common = {
      accountId: t.arg.id({ required: true, description: 'Id of the account.' }),
      idempotencyKey: t.arg.string({
        required: true,
        description: '1 to 255 characters, unique per account: the same call again changes nothing more.',
      }),
    };
    return {
      grantCredits: t.field({
        type: result.ref,
        description: 'Gives credits to an account. Scope operator.',
        args: {
          ...common,
          amount: t.arg({ type: 'Credits', required: true, description: 'How many, 1 or more.' }),
          note: t.arg.string({ description: 'For the ledger; at most 1,000 characters.' }),
        },
        resolve: (_root, args, context) =>
          result.answer(context, ['operator'], () => change(context, { ...args, leg: 'GRANT', change: args.amount })),
      }),
      adjustCredits: t.field({
        type: result.ref,
        description: 'Corrects a balance, up or down; it never falls below 0. Scope operator.',
        args: {
          ...common,
          change: t.arg({ type: 'SafeInt', required: true, description: 'By how much; below 0 takes away.' }),
          note: t.arg.string({ required: true, description: 'Why; at most 1,000 characters.' }),
          taskId: t.arg.id({ description: 'The task of the same account that it is about.' }),
        },
        resolve: (_root, args, context) =>
          result.answer(context, ['operator'], () => change(context, { ...args, leg: 'ADJUST' })),
      }),
    };
  });
}

/** A narrowed client token sees what its tasks cost, not what the account has. */
function requireBalance({ caller }: GraphContext): void {
  if (caller.only) throw forbidden('account');
}

async function change({ core }: GraphContext, args: CreditChange): Promise<{ account: Account; entry: LedgerEntry }> {
  const { leg, idempotencyKey, note } = args;
  const accountId = fromId('Account', args.accountId);
  if (!accountId) throw notFound('account');
  const taskId = args.taskId == null ? null : fromId('Task', args.taskId);
  if (args.taskId != null) {
    const task = taskId ? await core.db.prisma.task.findFirst({ where: { id: taskId, accountId } }) : null;
    if (!task) throw notFound('task');
  }
  const entry = await changeCredits(core, { accountId, leg, change: args.change, idempotencyKey, note, taskId });
  return { entry, account: await core.db.prisma.account.findUniqueOrThrow({ where: { id: accountId } }) };
}
