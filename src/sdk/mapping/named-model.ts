import { z } from 'zod';
import { AdapterFailure } from '../failure.ts';
import type { MappedModel } from './mapped-model.ts';
import { inputSource } from './source.ts';

/**
 * The setting by which an operator names a model that the adapter does not know: which of its fields takes what. An adapter's `config` holds a list of it:
 * `models: z.array(namedModel({ id, taskTypes })).default([]).describe(…)`.
 * @param id the vendor's way to name a model, with a message and a description: `z.string().regex(…, 'must be owner/name').describe(…)`.
 * @param taskTypes those that the adapter has transformers for.
 */
export function namedModel<const TaskType extends string>({
  id,
  taskTypes,
}: {
  id: z.ZodType<string>;
  taskTypes: readonly [TaskType, ...TaskType[]];
}) {
  return z
    .strictObject({
      id,
      taskTypes: z.array(z.enum(taskTypes)).min(1).describe('What it makes.'),
      fields: z.record(z.string(), inputSource).describe('Its own field → what is put into it.'),
      set: z
        .record(z.string(), z.json())
        .default({})
        .describe('Its own field → what is always put into it. Default: nothing.'),
      options: z
        .array(z.string())
        .default([])
        .describe('Which of its other fields clients may fill, in `options`. Default: none.'),
      typicalMs: z.int().positive().optional().describe('How long one usually takes, in milliseconds.'),
      concurrency: z.int().positive().optional().describe('Jobs in flight at once. Default: no limit.'),
    })
    .superRefine(({ fields, set, options }, issues) => {
      const refuse = (message: string) => issues.addIssue({ code: 'custom', path: ['options'], message });
      for (const name of options) {
        if (Object.hasOwn(fields, name) || Object.hasOwn(set, name))
          refuse(`"${name}" stands in fields or set already`);
        // Every object has it: one that a client leaves out would be read as given.
        if (name in Object.prototype) refuse(`"${name}" cannot be the name of an option`);
      }
    });
}

/** A model as an operator named it; what {@link namedModel} gives. */
export type NamedModel = z.output<ReturnType<typeof namedModel>>;

/** The operator's models first, then those of the adapter's own table that he does not name himself. For the adapter's `models`. */
export function mappedModels<Config>(
  named: readonly NamedModel[],
  known: readonly MappedModel<Config>[],
): MappedModel<Config>[] {
  return [...named.map(ofOperator), ...known.filter(({ id }) => !named.some((other) => other.id === id))];
}

/**
 * The one of {@link mappedModels} with this id.
 * @throws AdapterFailure `permanent`, MODEL_NOT_FOUND, when a task names a model that is gone from the configuration.
 */
export function findMappedModel<Config>(
  named: readonly NamedModel[],
  known: readonly MappedModel<Config>[],
  id: string,
): MappedModel<Config> {
  const own = named.find((each) => each.id === id);
  const model = own ? ofOperator(own) : known.find((each) => each.id === id);
  if (model) return model;
  throw new AdapterFailure({ class: 'permanent', code: 'MODEL_NOT_FOUND', message: `no model "${id}" is configured` });
}

function ofOperator({ id, taskTypes, fields, set, options, typicalMs, concurrency }: NamedModel): MappedModel {
  const value = z.json().optional().describe('Given to the model as it is.');
  const takesSeconds = Object.values(fields).includes('durationSeconds');
  return {
    id,
    taskTypes,
    options: z.strictObject(Object.fromEntries(options.map((name) => [name, value]))),
    typicalMs,
    concurrency,
    fields,
    set,
    shape: ({ durationSeconds }) => ({
      fields: {},
      covers: [],
      asked: takesSeconds ? { seconds: durationSeconds } : {},
    }),
  };
}
