import type { AdapterModel } from '../adapter.ts';
import type { RequestContext } from '../context.ts';
import { refuseInput } from '../refuse.ts';
import { coveredBy, fieldsOf, type InputSource, leftOut, readSource } from './source.ts';

/** How much of the task type's price unit a request asks for; kept in the handle, where the vendor's answer does not say it. */
export interface Asked {
  /** Of video. */
  seconds?: number;
  /** Of spoken text. */
  characters?: number;
}

/** What a mapping of single fields cannot say. */
export interface ModelShape {
  /** The model's own fields, beside the mapped ones; a mapped field of the same name wins. */
  fields: Record<string, unknown>;
  /** Fields of the input that these stand for: no warning says that they were left out. */
  covers: string[];
  /** For the client, as `this model makes 5 or 10 seconds: 10 rather than 7`. Default: none. */
  warnings?: string[];
  /** Beside the characters of the input's `text`, or in their place. Default: those. */
  asked?: Asked;
}

/**
 * A model of a vendor with many, each with fields of its own, for images, video, voices, audio and text. It goes into the adapter's `models` as it is.
 */
export interface MappedModel<Config = any> extends AdapterModel {
  /** The model's own field → what is put into it. What an input lacks is not sent; 0 and false are. */
  fields: Record<string, InputSource>;
  /** The model's own field → what is sent unless an option, the shape or a mapped field says otherwise. Default: nothing. */
  set?: Record<string, unknown>;
  /**
   * What `fields` cannot say, of an input whose options have their defaults. PURE. Default: nothing.
   * @throws AdapterFailure for what the model cannot do, by {@link refuseInput}.
   */
  shape?(input: any, config: Config): ModelShape;
}

/**
 * A task's input as the fields of a model: `set`, then the options under their own names, the shape, the mapped fields. PURE: call it in `toProvider`.
 * @param files the `files` of the context.
 * @param config goes to the model's `shape`.
 * @returns the request's fields; a warning for each field that was asked for and has no place in them; what was asked, for the handle.
 */
export function fillModel<Config>(
  model: MappedModel<Config>,
  given: object,
  files: RequestContext['files'],
  config: Config,
): { fields: Record<string, unknown>; warnings: string[]; asked: Asked } {
  const input = withOptions(model, given);
  const shape = model.shape?.(input, config);
  const fields: Record<string, unknown> = { ...model.set, ...input.options, ...shape?.fields };
  for (const [field, source] of Object.entries(model.fields)) {
    const value = readSource(source, input, files);
    if (value !== undefined) fields[field] = value;
  }
  const covered = [...Object.values(model.fields).flatMap(coveredBy), ...(shape?.covers ?? [])];
  return {
    fields,
    warnings: [...(shape?.warnings ?? []), ...leftOut(model.id, input, covered, files)],
    asked: sumUp(input, shape),
  };
}

/**
 * The `asked` of {@link fillModel}, where there is no request to fill. For `estimate`: a model may make more seconds than the input names. PURE.
 * @throws what the model's `shape` throws.
 */
export function askedOf<Config>(model: MappedModel<Config>, given: object, config: Config): Asked {
  const input = withOptions(model, given);
  return sumUp(input, model.shape?.(input, config));
}

const sumUp = ({ text }: { text?: string }, shape: ModelShape | undefined): Asked => ({
  ...(text !== undefined && { characters: [...text].length }),
  ...shape?.asked,
});

const withOptions = (model: MappedModel, input: any) => ({
  ...input,
  options: model.options?.parse(input.options ?? {}) ?? {},
});

/**
 * Where in a task's input stands what a vendor complains of: `['num_images']` → `['count']`; what is not mapped → `['options', …]`.
 * @param place the model's own field, and what lies below it. Empty: no field in particular, and so is the result.
 */
export function inputPathOf(model: Pick<MappedModel, 'fields'> | undefined, place: string[]): string[] {
  const [field] = place;
  if (field === undefined) return [];
  const source = model && Object.hasOwn(model.fields, field) ? model.fields[field] : undefined;
  return source ? [fieldsOf(source)[0]!] : ['options', ...place];
}

const pixelsPerMegapixel = 1024 * 1024;

/**
 * For models that cost the operator by the pixel while a task's price is by the image: refuses an image that is larger than he allows. A model
 * that takes no size is let through.
 * @param maxMegapixels in units of 1024 × 1024 pixels.
 * @throws AdapterFailure `invalid_input` at `width`.
 */
export function checkMegapixels(
  { fields }: MappedModel,
  { width, height }: { width?: number; height?: number },
  maxMegapixels: number,
): void {
  const takesSize = Object.values(fields).some((source) => ['width', 'height', 'size'].includes(source));
  if (!takesSize || width === undefined || height === undefined) return;
  if (width * height > maxMegapixels * pixelsPerMegapixel)
    refuseInput(
      'width',
      `${width} × ${height} is more than the ${maxMegapixels} × 1024 × 1024 pixels that are allowed here`,
    );
}
