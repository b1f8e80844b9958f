import { restingProviders } from '../lifecycle/circuit.ts';
import { typicalMs } from '../lifecycle/typical.ts';
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
      STREAM: { description: 'Gives output piece by piece, or is watched live.' },
      IDEMPOTENT: { description: 'A paid call can be sent again without paying twice.' },
    },
  });
  const State = builder.enumType('ProviderState', {
    description: 'Whether a provider is used.',
    values: {
      AVAILABLE: { description: 'It is.' },
      COOLING_DOWN: {
        description:
          'It failed too often, or asked to be left alone: it rests, and its tasks wait or go to the next of their route.',
      },
      DISABLED: { description: 'It is switched off: a secret or a setting is missing.' },
    },
  });
  const Model = builder.objectRef<AdapterModel & { provider: string }>('ProviderModel').implement({
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
        description:
          'How long it usually takes, from start to end: the median of the last runs here; until there are some, what its adapter says. Milliseconds.',
        resolve: async (model, _args, { core }) => (await typicalMs(core, model.provider, model)) ?? model.typicalMs,
      }),
      sunsetAt: t.expose('sunsetAt', { type: 'DateTime', nullable: true, description: 'When its vendor ends it.' }),
    }),
  });
  const Provider = builder.objectRef<LoadedAdapter & { rests: boolean }>('Provider').implement({
    description: 'An adapter that is installed.',
    fields: (t) => ({
      name: t.string({ description: 'What `provider` takes.', resolve: ({ adapter }) => adapter.name }),
      title: t.string({ description: 'For people.', resolve: ({ adapter }) => adapter.title }),
      version: t.string({ description: 'Of the adapter.', resolve: ({ adapter }) => adapter.version }),
      taskTypes: t.field({
        type: [TaskType],
        description: 'What it makes.',
        resolve: ({ models }) => [...new Set(models.flatMap((model) => model.taskTypes))],
      }),
      models: t.field({
        type: [Model],
        description: 'Its models.',
        resolve: ({ adapter, models }) => models.map((model) => ({ ...model, provider: adapter.name })),
      }),
      capabilities: t.field({
        type: [Capability],
        description: 'What it can do.',
        resolve: ({ adapter }) => capabilities(adapter),
      }),
      state: t.field({
        type: State,
        description: 'Whether it is used.',
        resolve: ({ disabled, rests }) => (disabled !== undefined ? 'DISABLED' : rests ? 'COOLING_DOWN' : 'AVAILABLE'),
      }),
    }),
  });
  builder.queryField('providers', (t) =>
    t.field({
      type: [Provider],
      description: 'The adapters that are installed. Any scope.',
      resolve: async (_root, _args, { core }) => {
        const resting = await restingProviders(core);
        return core.registry.adapters.map((loaded) => ({ ...loaded, rests: resting.has(loaded.adapter.name) }));
      },
    }),
  );
}

function optionsSchema(model: AdapterModel): unknown {
  return model.options ? z.toJSONSchema(model.options, { io: 'input', unrepresentable: 'any' }) : null;
}

/** A capability exists when its method is present. What runs here reports its own progress. */
function capabilities(adapter: Adapter) {
  const has = {
    CANCEL: adapter.cancel !== undefined || adapter.runs === 'here',
    PROGRESS: adapter.poll !== undefined || adapter.follow !== undefined || adapter.runs === 'here',
    WEBHOOK: adapter.receive !== undefined,
    STREAM: adapter.streams === true || adapter.follow !== undefined,
    IDEMPOTENT: adapter.resubmit !== 'never',
  };
  return (Object.keys(has) as (keyof typeof has)[]).filter((name) => has[name]);
}
