import { type PayloadTransformer, type TaskTypes, z } from 'atelier/adapter';
import type { FilmAnswer } from './video.ts';

/** What `options` may hold. */
export const animationOptions = z.strictObject({
  background: z
    .string()
    .regex(/^#[0-9a-fA-F]{6}$/, 'must be a colour, as #ffffff')
    .default('#ffffff')
    .describe('Behind an SVG or a Lottie document, as #rrggbb. Default: #ffffff.'),
});

export interface AnimationRequest extends z.output<typeof animationOptions> {
  work: 'animation';
  description: string;
  svg: string | null;
  /** The Lottie document as JSON text. */
  lottie: string | null;
  durationSeconds: number;
  framesPerSecond: number;
  width: number;
  height: number;
  seed: number;
}

type Type = TaskTypes['render_animation'];

export const animation: PayloadTransformer<Type['input'], Type['result'], AnimationRequest, FilmAnswer> = {
  toProvider: (input) => ({
    request: {
      work: 'animation',
      description: input.description,
      svg: input.svg ?? null,
      lottie: input.lottie === undefined ? null : JSON.stringify(input.lottie),
      durationSeconds: input.durationSeconds,
      framesPerSecond: input.framesPerSecond,
      width: input.width,
      height: input.height,
      seed: input.seed ?? 0,
      ...animationOptions.parse(input.options ?? {}),
    },
    warnings: warningsFor(input),
  }),
  fromProvider: ({ file, durationSeconds, seed }) => ({
    outputs: [{ kind: 'VIDEO', contentType: 'video/mp4', from: { file } }],
    result: { video: { output: 0 }, durationSeconds, seed },
    usage: [{ unit: 'second', quantity: durationSeconds }],
  }),
};

function warningsFor({ svg = '', width, height }: Type['input']): string[] {
  const warnings: string[] = [];
  if (svg.includes('@keyframes'))
    warnings.push('CSS animations in the SVG are not played; SMIL (<animate>, <animateTransform>, <set>) is');
  if (/<script\b/i.test(svg)) warnings.push('scripts in the SVG are not run');
  if (/<animateMotion\b/i.test(svg)) warnings.push('<animateMotion> in the SVG is not played');
  if (width % 2 !== 0 || height % 2 !== 0)
    warnings.push(
      'an odd width or height is encoded as H.264 4:4:4, which some players do not show; even ones play everywhere',
    );
  return warnings;
}
