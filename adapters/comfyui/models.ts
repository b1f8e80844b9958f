import { type AdapterModel, z } from 'atelier/adapter';
import type { Config, Workflow } from './config.ts';
import { titleOf, valueAt } from './graph.ts';

/** One model for each workflow; its options are those that the operator named. */
export function modelsOf({ workflows }: Config): AdapterModel[] {
  return workflows.map((workflow) => ({
    id: workflow.id,
    taskTypes: workflow.taskTypes,
    options: z.strictObject(
      Object.fromEntries(
        Object.entries(workflow.options).map(([name, option]) => [name, fieldOf(option, workflow.workflow)]),
      ),
    ),
    typicalMs: workflow.typicalMs,
    concurrency: workflow.concurrency,
  }));
}

function fieldOf(option: Workflow['options'][string], graph: Workflow['workflow']): z.ZodType {
  const place = option.input[0]!;
  const own = valueAt(graph, place);
  const { type = typeof own, min, max, values } = option;
  const what =
    option.description ?? `${place.slice(place.indexOf('.') + 1)} of ${titleOf(graph, place.split('.')[0]!)}.`;
  const range = type === 'number' || type === 'integer' ? rangeOf(min, max) : '';
  // A link is no value: another node gives it, unless the client does.
  if (typeof own === 'object') return typeOf(type, min, max, values).optional().describe(`${what}${range}`);
  return typeOf(type, min, max, values).default(own).describe(`${what}${range} Default: ${own}.`);
}

function typeOf(
  type: string,
  min: number | undefined,
  max: number | undefined,
  values: (string | number)[] | undefined,
): z.ZodType {
  if (values) return z.literal(values);
  if (type === 'boolean') return z.boolean();
  if (type === 'string' || type === 'object') return z.string().max(10_000);
  let field: z.ZodNumber = type === 'integer' ? z.int() : z.number();
  if (min !== undefined) field = field.min(min);
  if (max !== undefined) field = field.max(max);
  return field;
}

function rangeOf(min: number | undefined, max: number | undefined): string {
  if (min !== undefined && max !== undefined) return ` ${min} to ${max}.`;
  if (min !== undefined) return ` ${min} or more.`;
  return max === undefined ? '' : ` At most ${max}.`;
}
