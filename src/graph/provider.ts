import type { LoadedAdapter } from '../registry.ts';
import { type Adapter, type AdapterModel, z } from '../sdk/index.ts';
import type { Graph } from './graph.ts';

/** Provider, `providers`. */
export function addProvider({ builder, TaskType }: Graph): void {
  const Capability = builder.enumType('ProviderCapability', {
    description: 'What an adapter can do beyond the least.',
    values: {
      CANCEL: { description: 'Stops a job at the vendor.' },
      PROGRESS: { description: 'Says how far a job is.' },
      WEBHOOK: { description: 'Takes callbacks.' },
      STREAM: { description: 'Gives output piece by piece.' },
      IDEMPOTENT: { description: 'A paid call can be sent again without paying twice.' },
    },
  });
  const State = builder.enumType('ProviderState', {
    description: 'Whether a provider is used.',
    values: {
      AVAILABLE: { description: 'It is.' },
      COOLING_DOWN: { description: 'It failed too often and rests.' },
      DISABLED: { description: 'It is switched off.' },
    },
  });
  const Model = builder.objectRef<AdapterModel>('ProviderModel').implement({
    description: 'A model of a provider.',
    fields: (t) => ({
      id: t.exposeString('id', { description: 'What `model` takes.' }),
      taskTypes: t.field({ type: [TaskType], description: 'What it makes.', resolve: (model) => model.taskTypes }),
      options: t.field({
        type: 'JSON',
        nullable: true,
        description: 'JSON Schema of what `options` takes; null: nothing.',
        resolve: optionsSchema,
      }),
      typicalMs: t.field({
        type: 'SafeInt',
        nullable: true,
        description: 'How long it usually takes, as its adapter says. Milliseconds.',
        resolve: (model) => model.typicalMs,
      }),
      sunsetAt: t.expose('sunsetAt', { type: 'DateTime', nullable: true, description: 'When its vendor ends it.' }),
    }),
  });
  const Provider = builder.objectRef<LoadedAdapter>('Provider').implement({
    description: 'An adapter that is installed.',
    fields: (t) => ({
      name: t.string({ description: 'What `provider` takes.', resolve: ({ adapter }) => adapter.name }),
      title: t.string({ description: 'For people.', resolve: ({ adapter }) => adapter.title }),
      version: t.string({ description: 'Of the adapter.', resolve: ({ adapter }) => adapter.version }),
      taskTypes: t.field({
        type: [TaskType],
        description: 'What it makes.',
        resolve: ({ adapter }) => [...new Set(adapter.models.flatMap((model) => model.taskTypes))],
      }),
      models: t.field({ type: [Model], description: 'Its models.', resolve: ({ adapter }) => adapter.models }),
      capabilities: t.field({
        type: [Capability],
        description: 'What it can do.',
        resolve: ({ adapter }) => capabilities(adapter),
      }),
      state: t.field({ type: State, description: 'Whether it is used.', resolve: () => 'AVAILABLE' as const }),
    }),
  });
  builder.queryField('providers', (t) =>
    t.field({
      type: [Provider],
      description: 'The adapters that are installed. Any scope.',
      resolve: (_root, _args, { core }) => core.registry.adapters,
    }),
  );
}

function optionsSchema(model: AdapterModel): unknown {
  return model.options ? z.toJSONSchema(model.options, { io: 'input', unrepresentable: 'any' }) : null;
}

/** A capability exists when its method is present. What runs here reports its own progress. */
function capabilities(adapter: Adapter & { receive?: unknown; follow?: unknown }) {
  const has = {
    CANCEL: adapter.cancel !== undefined || adapter.runs === 'here',
    PROGRESS: adapter.poll !== undefined || adapter.follow !== undefined || adapter.runs === 'here',
    WEBHOOK: adapter.receive !== undefined,
    STREAM: adapter.follow !== undefined,
    IDEMPOTENT: adapter.resubmit !== 'never',
  };
  return (Object.keys(has) as (keyof typeof has)[]).filter((name) => has[name]);
}
