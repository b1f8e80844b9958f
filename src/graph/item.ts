import type { Item } from '../db.ts';
import { fromId, toId } from '../id.ts';
import { isStorable } from '../lifecycle/storable.ts';
import { addItems, itemLimits } from '../pipelines/items.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { readableProject, within, writableProject } from './narrow.ts';
import { connection, pageArgs, readPage, toPage } from './page.ts';
import { resultUnion } from './result.ts';

/** An item that the caller reaches, or null. */
export async function findItem(context: GraphContext, id: string): Promise<Item | null> {
  const uuid = fromId('Item', id);
  return uuid ? context.core.db.prisma.item.findFirst({ where: { id: uuid, ...within(context) } }) : null;
}

/** Item, `items`, `addItems`. */
export function addItem(graph: Graph): void {
  const { builder, registry, Node, Task } = graph;
  const ItemState = builder.enumType('ItemState', {
    description: 'Where an item stands.',
    values: {
      WAITING: { description: 'A stage will take it, or nothing takes its kind yet.' },
      RUNNING: { description: 'A stage is at it; in a review it waits for a person.' },
      DONE: { description: 'No stage has anything left to do with it.' },
      FAILED: { description: 'A stage could not do it. rerunFrom takes it again.' },
      REJECTED: { description: 'A stage or a person turned it down.' },
    } as const,
  });
  const ItemRef = builder.objectType('Item', {
    description: 'What flows through the pipelines of a project: a keyword, an idea, an article, an image.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the item.', resolve: ({ id }) => toId('Item', id) }),
      kind: t.exposeString('kind', { description: 'What it is: lower_snake, as image_prompt.' }),
      state: t.field({ type: ItemState, description: 'Where it stands.', resolve: ({ state }) => state as 'WAITING' }),
      data: t.expose('data', { type: 'JSON', description: 'What it says: an object.' }),
      origin: t.field({
        type: ['Item'],
        description: 'The items that it was made from; none when it was added.',
        resolve: async ({ origin }, _args, { load }) => present(await load.item.loadMany(origin)),
      }),
      task: t.field({
        type: Task,
        nullable: true,
        description: 'The task that made it; null when none did, and when it is deleted.',
        resolve: async ({ taskId }, _args, { load }) => {
          const task = taskId ? await load.task.load(taskId) : null;
          return task && registry.taskType(task.type) ? task : null;
        },
      }),
      assets: t.field({
        type: ['Asset'],
        description: 'Its files, those that are still kept.',
        resolve: async ({ assetIds }, _args, { load }) => present(await load.asset.loadMany(assetIds)),
      }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was added or made.' }),
    }),
  });
  const ItemConnection = connection<Item>(graph, 'Item', 'Item', ItemRef, 'Items, oldest first.');
  const Success = builder.objectRef<{ added: number; skipped: number }>('AddItemsSuccess').implement({
    description: 'The items are there.',
    fields: (t) => ({
      added: t.exposeInt('added', { description: 'How many are new.' }),
      skipped: t.exposeInt('skipped', { description: 'How many were there already, with the same kind and data.' }),
    }),
  });
  const result = resultUnion(graph, 'AddItemsResult', Success, ['ValidationError', 'NotFoundError']);
  builder.queryField('items', (t) =>
    t.field({
      type: ItemConnection,
      description: 'The items of a project, oldest first. Scope tasks:read.',
      args: {
        projectId: t.arg.id({ required: true, description: 'Of which project.' }),
        kind: t.arg.string({ description: 'Only of this kind. Default: all.' }),
        state: t.arg({
          type: [ItemState],
          description: 'Only in one of these. Default: all; an empty list is as none.',
        }),
        ...pageArgs(builder, 50),
      },
      resolve: async (_root, { projectId, kind, state, ...args }, context) => {
        requireScope(context, 'tasks:read');
        const page = readPage('Item', args, 50);
        const scope = await readableProject(context, projectId);
        if (!scope || (kind != null && !isStorable(kind))) return toPage([], page);
        const states = [...new Set(state ?? [])];
        const rows = await context.core.db.prisma.item.findMany({
          where: {
            projectId: scope.projectId,
            ...(kind != null && { kind }),
            ...(states.length > 0 && { state: states.length === 1 ? states[0] : { in: states } }),
            ...(page.after && { id: { gt: page.after } }),
          },
          orderBy: { id: 'asc' },
          take: page.take,
        });
        return toPage(rows, page);
      },
    }),
  );
  builder.mutationField('addItems', (t) =>
    t.field({
      type: result.ref,
      description:
        'Adds items to a project. They wait at the first stage of each of its pipelines that takes their kind; those that are there already are skipped. What a pipeline takes as its own input is checked when its first stage takes it. Scope tasks:write.',
      args: {
        projectId: t.arg.id({ required: true, description: 'Of which project.' }),
        kind: t.arg.string({ required: true, description: 'What they are: lower_snake, at most 60 characters.' }),
        items: t.arg({
          type: ['JSON'],
          required: true,
          description: `Objects, or texts, which are { text }: at most ${itemLimits.atOnce.toLocaleString('en')}, each at most ${itemLimits.bytes.toLocaleString('en')} bytes of JSON.`,
        }),
      },
      resolve: (_root, { projectId, kind, items }, context) =>
        result.answer(context, ['tasks:write'], async () =>
          addItems(context.core, await writableProject(context, projectId), kind, items),
        ),
    }),
  );
}

/** Without those that are gone. */
function present<Row>(rows: (Row | null | Error)[]): Row[] {
  return rows
    .map((row) => {
      if (row instanceof Error) throw row;
      return row;
    })
    .filter((row) => row !== null) as Row[];
}
