import { createApiKey, createClientToken, revokeApiKey } from '../access.ts';
import type { ApiKey } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { accountOf } from './account.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';

/** One of the caller's keys, or null. */
export async function findApiKey(context: GraphContext, id: string): Promise<ApiKey | null> {
  requireScope(context, 'account');
  const uuid = fromId('ApiKey', id);
  return uuid
    ? context.core.db.prisma.apiKey.findFirst({ where: { id: uuid, accountId: context.caller.accountId } })
    : null;
}

/** ApiKey, `createApiKey`, `revokeApiKey`, `createClientToken`. */
export function addApiKey(graph: Graph): void {
  const { builder, Node } = graph;
  const ApiKey = builder.prismaObject('ApiKey', {
    description: 'A long-lived secret of a server. Only its hash is kept.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the key; not the secret.', resolve: (key) => toId('ApiKey', key.id) }),
      name: t.exposeString('name', { description: 'As it was given.' }),
      hint: t.exposeString('hint', { description: 'Begin and end of the secret, to tell keys apart.' }),
      scopes: t.exposeStringList('scopes', {
        description: 'What it may do: tasks:read, tasks:write, account, operator.',
      }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was created.' }),
      expiresAt: t.expose('expiresAt', {
        type: 'DateTime',
        nullable: true,
        description: 'From then on it is refused; null: never.',
      }),
      lastUsedAt: t.expose('lastUsedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'To the minute; null: never used.',
      }),
      revokedAt: t.expose('revokedAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it was revoked, and with it every client token that it made.',
      }),
    }),
  });
  addKeyMutations(graph, ApiKey);
  addClientToken(graph);
}

function addKeyMutations(graph: Graph, ApiKey: any): void {
  const { builder } = graph;
  const Created = builder.objectRef<{ apiKey: ApiKey; secret: string }>('CreateApiKeySuccess').implement({
    description: 'The key was created.',
    fields: (t) => ({
      apiKey: t.field({
        type: ApiKey,
        description: 'The key without its secret.',
        resolve: ({ apiKey }) => apiKey as never,
      }),
      secret: t.exposeString('secret', {
        description: 'The key itself, for the Authorization header. It is shown once.',
      }),
    }),
  });
  const created = resultUnion(graph, 'CreateApiKeyResult', Created, ['ValidationError', 'NotFoundError']);
  const Revoked = builder.objectRef<{ apiKey: ApiKey }>('RevokeApiKeySuccess').implement({
    description: 'The key is revoked; streams that it opened end within 10 s.',
    fields: (t) => ({
      apiKey: t.field({ type: ApiKey, description: 'The key.', resolve: ({ apiKey }) => apiKey as never }),
    }),
  });
  const revoked = resultUnion(graph, 'RevokeApiKeyResult', Revoked, ['NotFoundError']);
  const Input = builder.inputType('CreateApiKeyInput', {
    description: 'A new API key.',
    fields: (t) => ({
      name: t.string({ required: true, description: '1 to 200 characters.' }),
      scopes: t.stringList({
        required: true,
        description:
          'Of tasks:read, tasks:write, account. A key with the scope operator is made on the command line only.',
      }),
      projectId: t.id({ description: "Where its tasks go that name no project. Default: the account's oldest." }),
      expiresAt: t.field({ type: 'DateTime', description: 'From then on it is refused. Default: never.' }),
      accountId: t.id({
        description: 'The account it belongs to; another than your own needs the scope operator. Default: your own.',
      }),
    }),
  });
  builder.mutationFields((t) => ({
    createApiKey: t.field({
      type: created.ref,
      description: 'Creates an API key; the secret is shown once. Scope account.',
      args: { input: t.arg({ type: Input, required: true, description: 'The key.' }) },
      resolve: (_root, { input }, context) =>
        created.answer(context, ['account', 'operator'], () => {
          const { name, scopes, expiresAt } = input;
          const accountId = accountOf(context, input.accountId);
          const projectId = readProject(input.projectId);
          return createApiKey(context.core, {
            accountId,
            name,
            scopes,
            projectId,
            expiresAt,
            mintable: ['tasks:read', 'tasks:write', 'account'],
          });
        }),
    }),
    revokeApiKey: t.field({
      type: revoked.ref,
      description:
        "Revokes one of the account's keys, and every client token that it made. Again, it gives the same answer. Scope account.",
      args: { id: t.arg.id({ required: true, description: 'Id of the key.' }) },
      resolve: (_root, { id }, context) =>
        revoked.answer(context, ['account'], async () => {
          const uuid = fromId('ApiKey', id);
          const apiKey = uuid ? await revokeApiKey(context.core, context.caller.accountId, uuid) : null;
          if (!apiKey) throw notFound('API key');
          return { apiKey };
        }),
    }),
  }));
}

function addClientToken(graph: Graph): void {
  const { builder } = graph;
  const Success = builder.objectRef<{ token: string; expiresAt: Date }>('CreateClientTokenSuccess').implement({
    description: 'A token for a browser or an app. It is used like an API key.',
    fields: (t) => ({
      token: t.exposeString('token', { description: 'For the Authorization header. It is shown once.' }),
      expiresAt: t.expose('expiresAt', {
        type: 'DateTime',
        description: 'When it ends, and every stream that it opened.',
      }),
    }),
  });
  const result = resultUnion(graph, 'CreateClientTokenResult', Success, ['ValidationError', 'NotFoundError']);
  const Input = builder.inputType('CreateClientTokenInput', {
    description: 'What a client token may do, and for how long.',
    fields: (t) => ({
      scopes: t.stringList({ required: true, description: 'Of tasks:read, tasks:write.' }),
      taskIds: t.idList({
        description: 'Only these tasks, at most 100; it then creates none. Default: all of the account or project.',
      }),
      projectId: t.id({ description: 'Only this project, for reading and for creating. Default: all of the account.' }),
      expiresInSeconds: t.int({ defaultValue: 900, description: 'Seconds, 60 to 86,400.' }),
    }),
  });
  builder.mutationField('createClientToken', (t) =>
    t.field({
      type: result.ref,
      description:
        'Makes a short-lived and narrow token for browsers and apps. It ends with the key that made it. Scope account.',
      args: { input: t.arg({ type: Input, required: true, description: 'The token.' }) },
      resolve: (_root, { input }, context) =>
        result.answer(context, ['account'], async () => {
          const taskIds = input.taskIds?.map((id) => fromId('Task', id));
          if (taskIds?.includes(null)) throw notFound('task');
          return createClientToken(context.core, context.caller, {
            scopes: input.scopes,
            taskIds: taskIds as string[] | undefined,
            projectId: readProject(input.projectId),
            expiresInSeconds: input.expiresInSeconds ?? 900,
          });
        }),
    }),
  );
}

function readProject(id: string | null | undefined): string | undefined {
  if (id == null) return undefined;
  const uuid = fromId('Project', id);
  if (!uuid) throw notFound('project');
  return uuid;
}
