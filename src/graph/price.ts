import type { PriceRow } from '../lifecycle/catalog.ts';
import { listPrices, setPrice } from '../lifecycle/prices.ts';
import { requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';

/** Price, `prices`, `setPrice`. */
export function addPrice(graph: Graph): void {
  const { builder, registry, TaskType } = graph;
  const Price = builder.objectRef<PriceRow>('Price').implement({
    description:
      'What one unit costs. The most specific row that is in force wins: by model, by provider, by task type.',
    fields: (t) => ({
      taskType: t.field({ type: TaskType, description: 'Of which task type.', resolve: (price) => price.taskType }),
      provider: t.exposeString('provider', { nullable: true, description: 'Of which adapter; null: any.' }),
      model: t.exposeString('model', { nullable: true, description: 'Of which model; null: any.' }),
      unit: t.exposeString('unit', { description: "The task type's own word: second, image, token, …" }),
      creditsPerUnit: t.expose('creditsPerUnit', {
        type: 'Decimal',
        description: 'Credits for one; the sum is rounded up once.',
      }),
      effectiveFrom: t.expose('effectiveFrom', {
        type: 'DateTime',
        description: 'In force from then on, until a newer one is.',
      }),
    }),
  });
  const Success = builder.objectRef<{ price: PriceRow }>('SetPriceSuccess').implement({
    description: 'The price is set; tasks that exist keep theirs.',
    fields: (t) => ({ price: t.field({ type: Price, description: 'The price.', resolve: ({ price }) => price }) }),
  });
  const result = resultUnion(graph, 'SetPriceResult', Success, ['ValidationError']);
  const Input = builder.inputType('SetPriceInput', {
    description: 'A price.',
    fields: (t) => ({
      taskType: t.field({ type: TaskType, required: true, description: 'Of which task type.' }),
      provider: t.string({ description: 'Of which adapter. Default: any.' }),
      model: t.string({ description: 'Of which model of the provider. Default: any.' }),
      unit: t.string({ required: true, description: 'A lower-case word, as second.' }),
      creditsPerUnit: t.field({ type: 'Decimal', required: true, description: '0 or more.' }),
      effectiveFrom: t.field({ type: 'DateTime', description: 'Default: from now on.' }),
    }),
  });
  builder.queryField('prices', (t) =>
    t.field({
      type: [Price],
      description: 'Every price, past and future ones too. Scope operator.',
      resolve: async (_root, _args, context) => {
        requireScope(context, 'operator');
        return (await listPrices(context.core)).filter((price) => registry.taskType(price.taskType));
      },
    }),
  );
  builder.mutationField('setPrice', (t) =>
    t.field({
      type: result.ref,
      description: 'Sets what one unit costs. Scope operator.',
      args: { input: t.arg({ type: Input, required: true, description: 'The price.' }) },
      resolve: (_root, { input }, context) =>
        result.answer(context, ['operator'], async () => ({ price: await setPrice(context.core, input) })),
    }),
  );
}
