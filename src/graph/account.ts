import { createAccount, rotateWebhookSecret } from '../access.ts';
import type { Account, LedgerEntry } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { connection, pageArgs, readPage, toPage } from './page.ts';
import { resultUnion } from './result.ts';

/**
 * The account that a mutation is about: the caller's own, or the one that an operator names.
 * @throws Refusal ForbiddenError for another account without the scope operator, NotFoundError for an id that is none.
 */
export function accountOf(context: GraphContext, id: string | null | undefined): string {
  const uuid = id == null ? context.caller.accountId : fromId('Account', id);
  if (uuid === context.caller.accountId) requireScope(context, 'account', 'operator');
  else requireScope(context, 'operator');
  if (!uuid) throw notFound('account');
  return uuid;
}

/** The caller's own account, or any for an operator. */
export async function findAccount(context: GraphContext, id: string): Promise<Account | null> {
  requireScope(context, 'account', 'operator');
  const uuid = fromId('Account', id);
  const allowed = uuid === context.caller.accountId || context.caller.scopes.has('operator');
  return uuid && allowed ? context.core.db.prisma.account.findUnique({ where: { id: uuid } }) : null;
}

/** Account, `account`, `accounts`, `createAccount`, `rotateWebhookSecret`. */
export function addAccount(graph: Graph): void {
  const { builder, Node } = graph;
  const LedgerConnection = connection<LedgerEntry>(
    graph,
    'Ledger',
    'LedgerEntry',
    'LedgerEntry' as never,
    'Entries of a ledger, newest first.',
  );
  const Account = builder.prismaObject('Account', {
    description: 'Who pays.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the account.', resolve: (account) => toId('Account', account.id) }),
      name: t.exposeString('name', { description: 'As it was given.' }),
      available: t.expose('available', { type: 'Credits', description: 'Credits that can be spent.' }),
      held: t.expose('held', { type: 'Credits', description: 'Credits that are held for tasks which have not ended.' }),
      ledger: t.field({
        type: LedgerConnection,
        description:
          'Every change of both, newest first. Σ availableChange = available and Σ heldChange = held, always.',
        args: pageArgs(builder, 50),
        resolve: async (account, args, { core }) => {
          const page = readPage('LedgerEntry', args, 50);
          const where = { accountId: account.id, ...(page.after && { id: { lt: page.after } }) };
          return toPage(
            await core.db.prisma.ledgerEntry.findMany({ where, orderBy: { id: 'desc' }, take: page.take }),
            page,
          );
        },
      }),
      projects: t.relation('projects', {
        description: 'Its projects, oldest first; at most 1,000.',
        query: { orderBy: { id: 'asc' }, take: 1_000 },
      }),
      apiKeys: t.relation('apiKeys', {
        description: 'Its API keys, newest first, revoked ones too; at most 1,000.',
        query: { orderBy: { id: 'desc' }, take: 1_000 },
      }),
    }),
  });
  const AccountConnection = connection<Account>(graph, 'Account', 'Account', Account, 'Accounts, newest first.');
  const Success = builder.objectRef<{ account: Account }>('CreateAccountSuccess').implement({
    description: 'The account was created, with a project called "default".',
    fields: (t) => ({
      account: t.field({ type: Account, description: 'The new account.', resolve: ({ account }) => account }),
    }),
  });
  const created = resultUnion(graph, 'CreateAccountResult', Success, ['ValidationError']);
  const CreateAccountInput = builder.inputType('CreateAccountInput', {
    description: 'A new account.',
    fields: (t) => ({ name: t.string({ required: true, description: '1 to 200 characters.' }) }),
  });
  const Rotated = builder.objectRef<{ secret: string }>('RotateWebhookSecretSuccess').implement({
    description: 'Webhooks are signed with the new secret and, for 24 h, with the old one too.',
    fields: (t) => ({
      secret: t.exposeString('secret', { description: 'whsec_ and 32 bytes in base64. It is shown once.' }),
    }),
  });
  const rotated = resultUnion(graph, 'RotateWebhookSecretResult', Rotated, []);

  builder.queryFields((t) => ({
    account: t.field({
      type: Account,
      description: "The caller's account. Scope account.",
      resolve: (_root, _args, context) => {
        requireScope(context, 'account');
        return context.core.db.prisma.account.findUniqueOrThrow({ where: { id: context.caller.accountId } });
      },
    }),
    accounts: t.field({
      type: AccountConnection,
      description: 'All accounts, newest first. Scope operator.',
      args: pageArgs(builder, 20),
      resolve: async (_root, args, context) => {
        requireScope(context, 'operator');
        const page = readPage('Account', args, 20);
        const where = page.after ? { id: { lt: page.after } } : {};
        return toPage(
          await context.core.db.prisma.account.findMany({ where, orderBy: { id: 'desc' }, take: page.take }),
          page,
        );
      },
    }),
  }));
  builder.mutationFields((t) => ({
    createAccount: t.field({
      type: created.ref,
      description: 'Creates an account with a default project. Scope operator.',
      args: { input: t.arg({ type: CreateAccountInput, required: true, description: 'The account.' }) },
      resolve: (_root, { input }, context) =>
        created.answer(context, ['operator'], async () => ({
          account: (await createAccount(context.core, { name: input.name })).account,
        })),
    }),
    rotateWebhookSecret: t.field({
      type: rotated.ref,
      description:
        "Gives the caller's account a new secret for its webhooks. The old one signs too for 24 h. Scope account.",
      resolve: (_root, _args, context) =>
        rotated.answer(context, ['account'], async () => ({
          secret: await rotateWebhookSecret(context.core, context.caller.accountId),
        })),
    }),
  }));
}
