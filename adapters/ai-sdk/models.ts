import { type AdapterModel, type VendorContext, z } from 'atelier/adapter';
import type { Config, ModelConfig } from './config.ts';
import { openModel } from './provider.ts';

/**
 * The models of the configuration, after a look whether the packages have them.
 * @throws TypeError that says what to install or to change.
 */
export async function modelsOf({ config, secrets }: VendorContext<Config>): Promise<AdapterModel[]> {
  for (const { id, taskTypes } of config.models)
    for (const type of taskTypes) await openModel(type, config, id, secrets, noFetch);
  return config.models.map((model) => ({
    id: model.id,
    taskTypes: model.taskTypes,
    options: z.strictObject(
      Object.fromEntries(Object.entries(model.options).map(([name, option]) => [name, fieldOf(option)])),
    ),
    typicalMs: model.typicalMs,
    concurrency: model.concurrency,
  }));
}

const noFetch = async (): Promise<Response> => {
  throw new TypeError('ai-sdk: the package asks the network before there is a task');
};

function fieldOf({ description, type, min, max, values }: ModelConfig['options'][string]): z.ZodType {
  const field = () => {
    if (values) return z.literal(values);
    if (type === 'string') return z.string().max(10_000);
    if (type === 'boolean') return z.boolean();
    let number: z.ZodNumber = type === 'integer' ? z.int() : z.number();
    if (min !== undefined) number = number.min(min);
    if (max !== undefined) number = number.max(max);
    return number;
  };
  return field().optional().describe(description);
}
