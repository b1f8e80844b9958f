import type { WebhookDelivery } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { redeliver } from '../webhooks/outgoing.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { within } from './narrow.ts';
import { resultUnion } from './result.ts';
import { visibleTasks } from './task.ts';

/** One delivery about a task that the caller can see, or null. */
export async function findDelivery(context: GraphContext, id: string): Promise<WebhookDelivery | null> {
  requireScope(context, 'tasks:read', 'tasks:write');
  const uuid = fromId('WebhookDelivery', id);
  const { accountId } = context.caller;
  return uuid
    ? context.core.db.prisma.webhookDelivery.findFirst({
        where: { id: uuid, accountId, OR: [{ task: visibleTasks(context) }, { run: within(context) }] },
      })
    : null;
}

/** WebhookDelivery, `redeliverWebhook`. */
export function addWebhookDelivery(graph: Graph): void {
  const { builder, Node } = graph;
  const WebhookDelivery = builder.prismaObject('WebhookDelivery', {
    description: 'One signed webhook to the callbackUrl of a task or a run, tried for three days.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({
        description: 'Id of the delivery; the webhook-id of each try.',
        resolve: (delivery) => toId('WebhookDelivery', delivery.id),
      }),
      url: t.expose('url', { type: 'URL', description: 'Where it goes.' }),
      type: t.exposeString('type', {
        description:
          'task.completed, task.failed, task.cancelled or task.expired; run.paused, run.waiting_for_review, run.completed, run.failed or run.cancelled.',
      }),
      attempts: t.exposeInt('attempts', { description: 'How often it was tried.' }),
      deliveredAt: t.expose('deliveredAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When the receiver took it.',
      }),
      nextAttemptAt: t.expose('nextAttemptAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When it is tried next; null: no more.',
      }),
      lastStatus: t.exposeInt('lastStatus', {
        nullable: true,
        description: 'HTTP status of the last try; null: no answer.',
      }),
      lastError: t.exposeString('lastError', { nullable: true, description: 'What went wrong at the last try.' }),
      exhausted: t.exposeBoolean('exhausted', {
        description: 'True when it was given up; redeliverWebhook tries once more.',
      }),
    }),
  });
  const Success = builder.objectRef<{ delivery: WebhookDelivery }>('RedeliverWebhookSuccess').implement({
    description: 'It is tried again now.',
    fields: (t) => ({
      delivery: t.field({ type: WebhookDelivery, description: 'The delivery.', resolve: ({ delivery }) => delivery }),
    }),
  });
  const result = resultUnion(graph, 'RedeliverWebhookResult', Success, ['NotFoundError']);
  builder.mutationField('redeliverWebhook', (t) =>
    t.field({
      type: result.ref,
      description: 'Sends a webhook once more, with the same webhook-id. Scope tasks:write.',
      args: { id: t.arg.id({ required: true, description: 'Id of the delivery.' }) },
      resolve: (_root, { id }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const found = await findDelivery(context, id);
          if (!found) throw notFound('webhook delivery');
          return { delivery: await redeliver(context.core, found.id) };
        }),
    }),
  );
}
