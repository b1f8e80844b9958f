import { z } from 'zod';
import type { RequestContext } from '../context.ts';

/**
 * What a field of a vendor's model can be filled with: a field of the task types' inputs, or what is made of several. For settings; see `namedModel`.
 *
 * `size` is `{ width, height }`; `aspectRatio` the given one, else that of width and height, as `16:9`; `sceneDescription` also tells the camera angle and the
 * lighting; `referenceImage`, `storyboardImage` and `source` are the first file, their plurals all files, as references that Atelier replaces before `start`.
 */
export const inputSource = z.enum([
  'prompt',
  'negativePrompt',
  'width',
  'height',
  'size',
  'aspectRatio',
  'count',
  'seed',
  'referenceImage',
  'referenceImages',
  'sceneDescription',
  'durationSeconds',
  'storyboardImage',
  'storyboardImages',
  'text',
  'voice',
  'language',
  'speed',
  'source',
  'sources',
  'targetLoudnessLufs',
  'system',
  'maxTokens',
  'temperature',
]);

/** One of {@link inputSource}. */
export type InputSource = z.output<typeof inputSource>;

type Files = RequestContext['files'];

/** A source that is no field of an input by that name: the fields that it is made of, the first one the closest to it. */
const made: { [Name in InputSource]?: { of: string[]; read(input: any, files: Files): unknown } } = {
  size: { of: ['width', 'height'], read: ({ width, height }) => width && height && { width, height } },
  aspectRatio: {
    of: ['width', 'height', 'aspectRatio'],
    read: ({ aspectRatio, width, height }) => aspectRatio ?? (width && height && ratioOf(width, height)),
  },
  sceneDescription: { of: ['sceneDescription', 'cameraAngle', 'lighting'], read: describeScene },
  referenceImage: first('referenceImages', 'referenceAssetIds'),
  referenceImages: all('referenceImages', 'referenceAssetIds'),
  storyboardImage: first('storyboardImages', 'storyboardAssetIds'),
  storyboardImages: all('storyboardImages', 'storyboardAssetIds'),
  source: first('sources', 'sourceAssetIds'),
  sources: all('sources', 'sourceAssetIds'),
};

function first(urls: string, assetIds: string) {
  return { of: [urls, assetIds], read: (_input: unknown, files: Files) => files[urls]?.[0] };
}

function all(urls: string, assetIds: string) {
  return {
    of: [urls, assetIds],
    read: (_input: unknown, files: Files) => (files[urls]?.length ? files[urls] : undefined),
  };
}

/** One prompt for models that know nothing of cameras. */
function describeScene(input: { sceneDescription?: string; cameraAngle?: string; lighting?: string }) {
  const { sceneDescription, cameraAngle, lighting } = input;
  if (sceneDescription === undefined) return undefined;
  return [sceneDescription, cameraAngle && `Camera: ${cameraAngle}.`, lighting && `Lighting: ${lighting}.`]
    .filter(Boolean)
    .join(' ');
}

/** What a source gives for an input; undefined: nothing was asked for. A falsy value is a value. */
export function readSource(name: InputSource, input: any, files: Files): unknown {
  return made[name] ? made[name].read(input, files) : input[name];
}

/** The fields of an input that a source stands for, the closest one first. */
export const fieldsOf = (name: InputSource): string[] => made[name]?.of ?? [name];

/** As the task types have them. A seed is always there: the core chooses one. Options have their own check. */
const defaults: Record<string, unknown> = {
  width: 1024,
  height: 1024,
  count: 1,
  durationSeconds: 7,
  speed: 1,
  targetLoudnessLufs: -16,
};
const neverLeftOut = ['seed', 'options', 'operation'];

/** One warning for each field that was asked for and that no part of the request stands for. */
export function leftOut(model: string, input: Record<string, unknown>, covered: string[], files: Files): string[] {
  const given = Object.entries(input)
    .filter(([name, value]) => value !== undefined && value !== defaults[name] && !neverLeftOut.includes(name))
    .filter(([, value]) => !(Array.isArray(value) && value.length === 0))
    .map(([name]) => name);
  const warnings = given
    .filter((name) => !covered.includes(name))
    .map((name) => `${name} is not supported by ${model} and was left out`);
  return [
    ...warnings,
    ...Object.entries(files).flatMap(([name, { length }]) => onlyFirst(model, name, length, covered)),
  ];
}

/** A source that takes the first file only says so by covering `<name>[0]`. */
function onlyFirst(model: string, name: string, count: number, covered: string[]): string[] {
  return count > 1 && covered.includes(`${name}[0]`) ? [`${model} takes one of ${name}; the first was used`] : [];
}

/** What {@link leftOut} is told of a source. */
export function coveredBy(name: InputSource): string[] {
  const fields = fieldsOf(name);
  return name === 'referenceImage' || name === 'storyboardImage' || name === 'source'
    ? [...fields, `${fields[0]}[0]`]
    : fields;
}

/** 1280, 720 → `16:9`. */
function ratioOf(width: number, height: number): string {
  let [a, b] = [width, height];
  while (b) [a, b] = [b, a % b];
  return `${width / a}:${height / a}`;
}
