import { join } from 'node:path';
import { createCanvas, LottieAnimation } from '@napi-rs/canvas';
import type { AnimationRequest } from '../animation.ts';
import type { FilmAnswer } from '../video.ts';
import { encodeFilm, type Film } from './film.ts';
import { registerFonts } from './font.ts';
import { InputRefusal } from './refusal.ts';
import { shapesFrames } from './shapes.ts';
import { svgFrames } from './svg.ts';
import type { Work } from './work.ts';

/** Renders the SVG, the Lottie document, or shapes that the description names, to a film. */
export async function animate(request: AnimationRequest, work: Work): Promise<FilmAnswer> {
  registerFonts();
  const draw =
    request.svg !== null
      ? svgFrames(request, work)
      : request.lottie !== null
        ? lottieFrames(request)
        : shapesFrames(request);
  const file = join(work.directory, 'animation.mp4');
  const { width, height, framesPerSecond, durationSeconds } = request;
  const film = await encodeFilm({ width, height, framesPerSecond, durationSeconds, draw }, file, work);
  return { file, durationSeconds: film.durationSeconds, seed: request.seed };
}

/** The document at its own speed, from the start again when it is shorter than the film, fitted into the frame. */
function lottieFrames({ lottie, width, height, background }: AnimationRequest): Film['draw'] {
  const animation = loadLottie(lottie!);
  const canvas = createCanvas(width, height);
  const context = canvas.getContext('2d');
  const scale = Math.min(width / animation.width, height / animation.height);
  const area = {
    x: (width - animation.width * scale) / 2,
    y: (height - animation.height * scale) / 2,
    width: animation.width * scale,
    height: animation.height * scale,
  };
  return (_index, seconds) => {
    context.fillStyle = background;
    context.fillRect(0, 0, width, height);
    animation.seekTime(seconds % animation.duration);
    animation.render(context, area);
    return canvas.data();
  };
}

function loadLottie(document: string): LottieAnimation {
  const refuse = (message: string) => new InputRefusal(['lottie'], message);
  let animation: LottieAnimation;
  try {
    // Without a resourcePath it opens no files; pictures inside the document still show.
    animation = LottieAnimation.loadFromData(document);
  } catch {
    throw refuse('is no Lottie document: an object with v, fr, ip, op, w, h and layers is needed');
  }
  if (!(animation.width > 0 && animation.height > 0)) throw refuse('its w and h must be above 0');
  if (!(animation.duration > 0)) throw refuse('its op must be above its ip, and its fr above 0');
  return animation;
}
