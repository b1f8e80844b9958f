import { createCanvas, type SKRSContext2D } from '@napi-rs/canvas';
import type { AnimationRequest } from '../animation.ts';
import type { Film } from './film.ts';
import { coloursIn, fade, mix, type Palette, paletteFor } from './palette.ts';
import { between, pick, type Random, randomFrom } from './random.ts';

type Kind = 'circle' | 'square' | 'triangle' | 'star' | 'heart' | 'ring';
type Motion = 'bounce' | 'spin' | 'pulse' | 'orbit' | 'float' | 'fall' | 'rise' | 'slide' | 'wave';

interface Shape {
  kind: Kind;
  colour: string;
  motions: Motion[];
  /** Shares of the frame. */
  x: number;
  y: number;
  /** A share of the shorter side. */
  size: number;
  /** 0..1: where in its motion it begins. */
  phase: number;
}

const kinds: [words: RegExp, kind: Kind][] = [
  [/^(circles?|balls?|dots?|bubbles?|discs?|planets?|suns?|moons?|orbs?|drops?|raindrops?|balloons?)$/, 'circle'],
  [/^(squares?|boxes|box|cubes?|rectangles?|tiles?|blocks?|cards?)$/, 'square'],
  [/^(triangles?|pyramids?|arrows?|rockets?)$/, 'triangle'],
  [/^(stars?|snowflakes?|sparkles?|sparks?)$/, 'star'],
  [/^(hearts?)$/, 'heart'],
  [/^(rings?|loops?|wheels?|halos?|spinners?)$/, 'ring'],
];

const motionWords: [words: RegExp, motion: Motion][] = [
  [/\b(bounc|jump|hop)/, 'bounce'],
  [/\b(spin|rotat|turn|twirl|roll)/, 'spin'],
  [/\b(puls|beat|breath|throb|blink|grow|shrink|twinkl)/, 'pulse'],
  [/\b(orbit|circl(es|ing) |revolv|around)/, 'orbit'],
  [/\b(fall|drop|rain|snow)/, 'fall'],
  [/\b(ris(e|es|ing)\b|climb|launch|soar)/, 'rise'],
  [/\b(slid|mov|travel|cross|fly|flies|pass|left|right)/, 'slide'],
  [/\b(wav(e|es|ing|y)\b|swing|sway|undulat)/, 'wave'],
  [/\b(float|drift|hover)/, 'float'],
];

const numbers = [
  'zero',
  'one',
  'two',
  'three',
  'four',
  'five',
  'six',
  'seven',
  'eight',
  'nine',
  'ten',
  'eleven',
  'twelve',
];

/** Frames of shapes that move: kinds, colours, numbers and motions from the English words of the description. */
export function shapesFrames({ description, seed, width, height, durationSeconds }: AnimationRequest): Film['draw'] {
  const random = randomFrom(seed, description);
  const palette = paletteFor(description, random);
  const shapes = readShapes(description.toLowerCase(), palette, random);
  const canvas = createCanvas(width, height);
  const context = canvas.getContext('2d');
  const cycles = Math.max(1, Math.round(durationSeconds / 2));
  return (_index, seconds) => {
    drawBackground(context, palette, width, height, seconds);
    for (const shape of shapes) drawShape(context, shape, (seconds / durationSeconds) * cycles, width, height, palette);
    return canvas.data();
  };
}

function readShapes(text: string, palette: Palette, random: Random): Shape[] {
  const all = motionsIn(text);
  const shapes: Shape[] = [];
  for (const clause of text.split(/[,;.]|\band\b|\bwhile\b/)) {
    const motions = motionsIn(clause);
    const words = clause.match(/[a-z]+|\d+/g) ?? [];
    words.forEach((word, place) => {
      const kind = kinds.find(([pattern]) => pattern.test(word))?.[1];
      if (!kind) return;
      const before = words.slice(Math.max(0, place - 3), place);
      const count = countIn(before) ?? (word.endsWith('s') ? 4 : 1);
      const colour = coloursIn(before.join(' ')).at(-1) ?? pickColour(palette, random);
      for (let index = 0; index < count && shapes.length < 60; index++) {
        shapes.push(makeShape(kind, colour, motions.length > 0 ? motions : all, random));
      }
    });
  }
  if (shapes.length === 0) {
    const motions =
      all.length > 0 ? all : [pick(random, ['float', 'orbit', 'wave', 'bounce'] as const), 'spin' as const];
    for (let index = 0; index < 7; index++) {
      const kind = pick(random, ['circle', 'square', 'triangle', 'star', 'ring'] as const);
      shapes.push(makeShape(kind, pickColour(palette, random), motions, random));
    }
  }
  return spread(shapes, random);
}

function motionsIn(text: string): Motion[] {
  return motionWords.filter(([pattern]) => pattern.test(text)).map(([, motion]) => motion);
}

function countIn(words: string[]): number | undefined {
  const named = words
    .map((word) => (/^\d+$/.test(word) ? Number(word) : numbers.indexOf(word)))
    .find((value) => value > 0);
  if (named !== undefined) return Math.min(40, named);
  return words.some((word) => ['many', 'lots', 'several', 'dozens'].includes(word)) ? 16 : undefined;
}

function pickColour(palette: Palette, random: Random): string {
  return pick(random, [...palette.accents.slice(0, 3), palette.light]);
}

function makeShape(kind: Kind, colour: string, motions: Motion[], random: Random): Shape {
  const moving: Motion[] = motions.length > 0 ? motions : ['float'];
  return {
    kind,
    colour,
    motions: moving,
    x: 0.5,
    y: between(random, 0.38, 0.6),
    size: between(random, 0.8, 1.15),
    phase: 0,
  };
}

/** Side by side over the frame, smaller the more they are, each a little later than the one before. */
function spread(shapes: Shape[], random: Random): Shape[] {
  const count = shapes.length;
  return shapes.map((shape, index) => ({
    ...shape,
    x: (index + 0.5) / count + (count > 1 ? (random() - 0.5) * 0.04 : 0),
    size: shape.size * Math.min(0.16, 0.3 / Math.sqrt(count)),
    phase: count === 1 ? 0 : (index * 0.618) % 1,
  }));
}

function drawBackground(
  context: SKRSContext2D,
  palette: Palette,
  width: number,
  height: number,
  seconds: number,
): void {
  const gradient = context.createLinearGradient(0, 0, width * 0.3 * Math.sin(seconds * 0.4), height);
  for (const [index, colour] of palette.sky.entries())
    gradient.addColorStop(index / 2, mix(colour, palette.near, 0.25));
  context.fillStyle = gradient;
  context.fillRect(0, 0, width, height);
}

/** `time` counts cycles from the start; every motion is back where it began after a whole one. */
function drawShape(
  context: SKRSContext2D,
  shape: Shape,
  time: number,
  width: number,
  height: number,
  palette: Palette,
): void {
  const unit = Math.min(width, height);
  const at = (time + shape.phase) % 1;
  const turn = at * 2 * Math.PI;
  let [x, y, scale, angle] = [shape.x * width, shape.y * height, 1, 0];
  let lifted = 0;
  for (const motion of shape.motions) {
    if (motion === 'bounce') {
      lifted = 4 * at * (1 - at);
      y = height * 0.84 - shape.size * unit - lifted * height * 0.42;
    } else if (motion === 'spin') angle += turn;
    else if (motion === 'pulse') scale *= 1 + 0.3 * Math.sin(turn);
    else if (motion === 'orbit') {
      x = width / 2 + Math.cos(turn) * unit * 0.3;
      y = height / 2 + Math.sin(turn) * unit * 0.3;
    } else if (motion === 'fall') y = (at * 1.4 - 0.2) * height;
    else if (motion === 'rise') y = (1.2 - at * 1.4) * height;
    else if (motion === 'slide') x = (at * 1.4 - 0.2) * width;
    else if (motion === 'wave') y += Math.sin(turn + shape.x * 6) * height * 0.16;
    else {
      x += Math.sin(turn) * unit * 0.04;
      y += Math.cos(turn) * unit * 0.06;
    }
  }
  const radius = shape.size * unit * scale;
  if (shape.motions.includes('bounce')) {
    context.fillStyle = fade('#000000', 0.35 - lifted * 0.22);
    context.beginPath();
    context.ellipse(x, height * 0.86, radius * (1.1 - lifted * 0.4), radius * 0.16, 0, 0, 7);
    context.fill();
  }
  context.save();
  context.translate(x, y);
  context.rotate(angle);
  const body = context.createRadialGradient(-radius * 0.35, -radius * 0.35, radius * 0.1, 0, 0, radius * 1.2);
  body.addColorStop(0, mix(shape.colour, '#ffffff', 0.5));
  body.addColorStop(0.55, shape.colour);
  body.addColorStop(1, mix(shape.colour, palette.near, 0.4));
  context.fillStyle = body;
  context.strokeStyle = body;
  context.shadowColor = 'rgba(0,0,0,0.35)';
  context.shadowBlur = radius * 0.25;
  trace(context, shape.kind, radius);
  context.restore();
}

function trace(context: SKRSContext2D, kind: Kind, radius: number): void {
  context.beginPath();
  if (kind === 'ring') {
    context.lineWidth = radius * 0.3;
    context.arc(0, 0, radius * 0.85, 0.4, 6.28);
    context.stroke();
    return;
  }
  if (kind === 'circle') context.arc(0, 0, radius, 0, 7);
  else if (kind === 'square')
    context.roundRect(-radius * 0.85, -radius * 0.85, radius * 1.7, radius * 1.7, radius * 0.18);
  else if (kind === 'heart') {
    context.moveTo(0, radius * 0.9);
    context.bezierCurveTo(-radius * 1.6, -radius * 0.2, -radius * 0.8, -radius * 1.2, 0, -radius * 0.4);
    context.bezierCurveTo(radius * 0.8, -radius * 1.2, radius * 1.6, -radius * 0.2, 0, radius * 0.9);
  } else {
    const corners = kind === 'star' ? 10 : 3;
    for (let corner = 0; corner < corners; corner++) {
      const reach = kind === 'star' && corner % 2 === 1 ? radius * 0.45 : radius;
      const angle = (corner / corners) * 2 * Math.PI - Math.PI / 2;
      context.lineTo(Math.cos(angle) * reach, Math.sin(angle) * reach);
    }
    context.closePath();
  }
  context.fill();
}
