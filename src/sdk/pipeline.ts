/** What flows through a pipeline: a keyword, an article, an image; a plugin has its own kinds. */
export interface PipelineItem {
  id: string;
  /** lower_snake: `image_prompt`. */
  kind: string;
  data: Record<string, any>;
}

/** What a transform gets beside its items. */
export interface PipelineTransformContext {
  /** `parameters` of the stage; `{}` when it has none. */
  parameters: Record<string, any>;
  /** What the run was started with; `{}` when it was nothing. */
  input: Record<string, any>;
  /** Vectors of unit length, one for each text, in their order. */
  embed(texts: string[]): Promise<number[][]>;
  /** Aborted when the run goes on elsewhere, or the time is up. */
  signal: AbortSignal;
}

/** What a transform made. */
export interface Transformed {
  /** `from`: ids of the items that it was made of, at least one. In a stage whose output is its input, the one item that goes on with this data. */
  items: { data: Record<string, any>; from: string[] }[];
  /** Items that go no further, and why. Default: none. */
  rejected?: { id: string; reason: string }[];
}

/** A local function over the items that a stage takes together. The same items give the same answer: a run may ask twice. */
export interface PipelineTransform {
  /** lower_snake; a plugin's begins with its vendor: `acme_dedupe`. */
  name: string;
  /** One sentence. */
  description: string;
  /** A JSON Schema of the `parameters` of a stage, an object: what does not fit it is refused with the definition. Default: anything. */
  parameters?: Record<string, unknown>;
  apply(items: PipelineItem[], context: PipelineTransformContext): Transformed | Promise<Transformed>;
}

const transformMarker = Symbol.for('atelier.pipeline-transform');
const pipelineMarker = Symbol.for('atelier.pipeline');

/** Declares a function that `TRANSFORM` stages can name. */
export function defineTransform(transform: PipelineTransform): PipelineTransform {
  return Object.freeze(Object.assign({}, transform, { [transformMarker]: true }));
}

/** True for what {@link defineTransform} made, also by another copy of this module. */
export function isTransform(value: unknown): value is PipelineTransform {
  return typeof value === 'object' && value !== null && transformMarker in value;
}

/**
 * Declares a pipeline that comes with a plugin: the same definition as `createPipeline` takes, checked when Atelier starts. A definition that
 * has changed since becomes the next version; runs keep theirs.
 */
export function definePipeline<Definition extends { name: string }>(definition: Definition): Definition {
  return Object.freeze(Object.assign({}, definition, { [pipelineMarker]: true }));
}

/** True for what {@link definePipeline} made, also by another copy of this module. */
export function isPipeline(value: unknown): value is { name: string } {
  return typeof value === 'object' && value !== null && pipelineMarker in value;
}
