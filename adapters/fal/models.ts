import { AdapterFailure, type AdapterModel, type RequestContext, z } from 'atelier/adapter';
import type { Config, NamedModel } from './config.ts';
import { coveredBy, leftOut, readSource, type Source } from './fields.ts';
import { known } from './known.ts';
import { refuse } from './refuse.ts';

/** What a request has made, beyond what the vendor's answer says: how much of the task type's price unit. */
export interface Asked {
  seconds?: number;
  characters?: number;
}

/** What a model's fields alone cannot say. */
export interface Shape {
  /** Its own fields, beside the mapped ones. */
  fields: Record<string, unknown>;
  /** Fields of the input that these stand for. */
  covers: string[];
  warnings?: string[];
  asked?: Asked;
}

/** How one model takes the input of its task types. */
export interface Model extends AdapterModel {
  /** Its own field → what is put into it. */
  fields: Record<string, Source>;
  /** Its own field → what is always put into it. Default: nothing. */
  set?: Record<string, unknown>;
  shape?(input: any, config: Config): Shape;
}

function ofOperator({ id, taskTypes, fields, set, options, typicalMs, concurrency }: NamedModel): Model {
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

/** The operator's models first, then the known ones that he does not name himself. */
export function modelsOf({ models }: Config): Model[] {
  return [...models.map(ofOperator), ...known.filter(({ id }) => !models.some((other) => other.id === id))];
}

/** @throws AdapterFailure when a task names a model that is gone from the configuration. */
export function modelOf(config: Config, id: string): Model {
  const named = config.models.find((each) => each.id === id);
  const model = named ? ofOperator(named) : known.find((each) => each.id === id);
  if (model) return model;
  throw new AdapterFailure({ class: 'permanent', code: 'MODEL_NOT_FOUND', message: `no model "${id}" is configured` });
}

/** How many seconds of video a model makes of an input; undefined when the model decides. */
export function secondsOf(model: Model, input: any, config: Config): number | undefined {
  return model.shape?.(withOptions(model, input), config).asked?.seconds;
}

/** With the defaults of the model's options. */
const withOptions = (model: Model, input: any) => ({
  ...input,
  options: model.options?.parse(input.options ?? {}) ?? {},
});

/** The body of a request. */
export function fill(
  model: Model,
  given: any,
  files: RequestContext['files'],
  config: Config,
): { fields: Record<string, unknown>; warnings: string[]; asked: Asked } {
  const input = withOptions(model, given);
  checkLimits(model, input, config);
  const shape = model.shape?.(input, config);
  const fields: Record<string, unknown> = { ...model.set, ...input.options, ...shape?.fields };
  for (const [field, name] of Object.entries(model.fields)) {
    const value = readSource(name, input, files);
    if (value !== undefined) fields[field] = value;
  }
  const covered = [...Object.values(model.fields).flatMap(coveredBy), ...(shape?.covers ?? [])];
  return {
    fields,
    warnings: [...(shape?.warnings ?? []), ...leftOut(model.id, input, covered, files)],
    asked: { ...(input.text !== undefined && { characters: [...input.text].length }), ...shape?.asked },
  };
}

const pixelsPerMegapixel = 1024 * 1024;

/** What costs the operator more while the task's price stays the same. */
function checkLimits({ fields }: Model, { width, height }: any, { maxMegapixels }: Config): void {
  const takesSize = Object.values(fields).some((name) => ['width', 'height', 'size'].includes(name));
  if (takesSize && width * height > maxMegapixels * pixelsPerMegapixel)
    refuse(
      'width',
      `${width} × ${height} is more than the ${maxMegapixels} × 1024 × 1024 pixels that are allowed here`,
    );
}
