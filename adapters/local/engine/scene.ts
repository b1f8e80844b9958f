import { type Canvas, createCanvas, type SKRSContext2D } from '@napi-rs/canvas';
import { drawAbstract } from './abstract.ts';
import { drawGround, type Ground } from './ground.ts';
import { fade, type Palette, paletteFor } from './palette.ts';
import { type Random, randomFrom } from './random.ts';
import { drawSky } from './sky.ts';
import { drawThings } from './things.ts';

/** What is drawn upon, and the choices that all its layers share. */
export interface Stage {
  context: SKRSContext2D;
  width: number;
  height: number;
  /** The shorter side: the measure of all sizes. */
  unit: number;
  /** y of the horizon. */
  horizon: number;
  palette: Palette;
  /** The prompt in lower case. */
  words: string;
  random: Random;
}

const grounds: [words: RegExp, ground: Ground][] = [
  [/\b(space|galaxy|nebula|cosmos|universe|planets?|astronauts?)\b/, 'space'],
  [/\b(city|skyline|town|street|skyscrapers?|cyberpunk|downtown|buildings?)\b/, 'city'],
  [/\b(ocean|sea|beach|harbou?r|lake|island|coast|waves?|boats?|ships?|sail\w*|river|lighthouse|whales?)\b/, 'water'],
  [/\b(forest|woods?|woodland|jungle|pines?)\b/, 'forest'],
  [/\b(desert|dunes?|sahara|sandy?|canyon|mars)\b/, 'dunes'],
  [/\b(mountains?|peaks?|alps?|alpine|glacier|snowy?|winter|arctic|volcano|cliffs?)\b/, 'mountains'],
  [
    /\b(hills?|meadow|fields?|garden|farm|village|valley|flowers?|trees?|house|cabin|cottage|castle|balloons?|spring|autumn|landscape|countryside|sunset|sunrise|dawn|dusk|night|sky|moon|sun|clouds?|rain\w*|fog\w*|mist\w*|fox|cats?|dogs?|birds?|park)\b/,
    'hills',
  ],
];

/** A picture composed from the English words of `prompt`: a landscape where they name one, else an abstract composition. */
export function paintScene(prompt: string, seed: number | string, width: number, height: number): Canvas {
  const random = randomFrom(seed, prompt);
  const canvas = createCanvas(width, height);
  const words = prompt.toLowerCase();
  const ground = grounds.find(([pattern]) => pattern.test(words))?.[1];
  const stage: Stage = {
    context: canvas.getContext('2d'),
    width,
    height,
    unit: Math.min(width, height),
    horizon: height * (ground === 'water' ? 0.6 : 0.66) + (random() - 0.5) * height * 0.08,
    palette: paletteFor(prompt, random),
    words,
    random,
  };
  if (ground === undefined) {
    drawAbstract(stage);
  } else {
    const light = drawSky(stage, ground);
    drawGround(stage, ground, light);
    drawThings(stage, ground);
  }
  drawVignette(stage);
  drawGrain(stage);
  return canvas;
}

function drawVignette({ context, width, height, palette }: Stage): void {
  const far = Math.hypot(width, height) / 2;
  const shade = context.createRadialGradient(width / 2, height / 2, far * 0.55, width / 2, height / 2, far);
  shade.addColorStop(0, fade(palette.near, 0));
  shade.addColorStop(1, fade(palette.near, 0.45));
  context.fillStyle = shade;
  context.fillRect(0, 0, width, height);
}

/** A little noise hides the bands of wide gradients. */
function drawGrain({ context, width, height, random }: Stage): void {
  const size = 128;
  const tile = createCanvas(size, size);
  const pixels = tile.getContext('2d').createImageData(size, size);
  for (let index = 0; index < pixels.data.length; index += 4) {
    pixels.data.fill(random() < 0.5 ? 0 : 255, index, index + 3);
    pixels.data[index + 3] = random() * 9;
  }
  tile.getContext('2d').putImageData(pixels, 0, 0);
  context.fillStyle = context.createPattern(tile, 'repeat')!;
  context.fillRect(0, 0, width, height);
}
