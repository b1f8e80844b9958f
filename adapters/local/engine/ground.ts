import { fade, mix } from './palette.ts';
import { between } from './random.ts';
import type { Stage } from './scene.ts';
import type { Light } from './sky.ts';

export type Ground = 'space' | 'city' | 'water' | 'forest' | 'dunes' | 'mountains' | 'hills';

/** The land or the water below the sky, from far to near. */
export function drawGround(stage: Stage, ground: Ground, light: Light): void {
  if (ground === 'space') return;
  if (ground === 'water') drawWater(stage, light);
  else if (ground === 'city') drawCity(stage);
  else drawLayers(stage, ground);
}

const shapes = {
  mountains: { layers: 4, rise: 0.46, jagged: 1 },
  forest: { layers: 4, rise: 0.16, jagged: 0.25 },
  dunes: { layers: 4, rise: 0.13, jagged: 0 },
  hills: { layers: 4, rise: 0.14, jagged: 0.05 },
};

function drawLayers(stage: Stage, ground: keyof typeof shapes): void {
  const { context, width, height, horizon, palette, random, unit, words } = stage;
  const { layers, rise, jagged } = shapes[ground];
  const snowy =
    /\b(snow\w*|winter|ic[ey]|arctic|glacier|alp\w*|peaks?|mountains?)\b/.test(words) && ground === 'mountains';
  for (let layer = 0; layer < layers; layer++) {
    const depth = layer / (layers - 1);
    const base = horizon + depth * (height - horizon) * 0.72;
    const line = ridge(stage, base, height * rise * (1 - depth * 0.55), jagged * (1 - depth * 0.6));
    const colour = mix(palette.far, palette.near, depth ** 0.8);
    const mist = context.createLinearGradient(0, base - height * rise, 0, base + (height - horizon) * 0.35);
    mist.addColorStop(0, colour);
    mist.addColorStop(1, mix(colour, palette.sky[2], 0.4 * (1 - depth)));
    context.fillStyle = mist;
    fillBelow(stage, line);
    if (snowy && layer < 2) drawSnow(stage, line, base - height * rise * (1 - depth * 0.55) * 0.45, depth);
    if (ground === 'dunes') drawShade(stage, line, depth);
    if (ground === 'forest' || (layer > 1 && ground === 'mountains')) {
      const spacing = unit * (0.018 + depth * 0.035);
      for (let x = -spacing; x < width + spacing; x += spacing * between(random, 0.55, 1.25)) {
        const size = unit * (0.05 + depth * 0.2) * between(random, 0.6, 1.15) * (ground === 'forest' ? 1 : 0.45);
        drawPine(stage, x, heightAt(line, x) + size * 0.12, size, mix(colour, palette.near, 0.25));
      }
    }
    if (ground === 'hills' && layer > 0) {
      for (let count = 0; count < 7 - layer; count++) {
        const x = random() * width;
        drawTree(
          stage,
          x,
          heightAt(line, x),
          unit * (0.03 + depth * 0.06) * between(random, 0.7, 1.2),
          mix(colour, palette.near, 0.5),
        );
      }
    }
  }
}

type Line = { x: number; y: number }[];

function ridge({ width, random, unit }: Stage, base: number, rise: number, jagged: number): Line {
  const waves = [1, 2.1, 4.3, 9, 19, 41].map((frequency, octave) => ({
    frequency: (frequency * Math.PI * between(random, 0.8, 1.3)) / Math.max(1, unit * 1.5),
    phase: random() * 20,
    size: 0.55 ** octave * (octave < 2 ? 1 : jagged),
  }));
  const line: Line = [];
  const step = Math.max(1, width / 400);
  for (let x = -step; x <= width + step; x += step) {
    let sum = 0;
    for (const { frequency, phase, size } of waves) {
      const angle = x * frequency + phase;
      // Where it is jagged, a folded wave: sharp tops, wide valleys.
      sum += size * (jagged > 0.5 ? 1.35 - 2 * Math.abs(Math.sin(angle / 2)) : Math.sin(angle));
    }
    line.push({ x, y: base - rise * (0.5 + 0.5 * sum) });
  }
  return line;
}

function heightAt(line: Line, x: number): number {
  return (line.find((point) => point.x >= x) ?? line.at(-1)!).y;
}

function fillBelow({ context, width, height }: Stage, line: Line): void {
  context.beginPath();
  context.moveTo(0, height);
  for (const { x, y } of line) context.lineTo(x, y);
  context.lineTo(width, height);
  context.fill();
}

function drawSnow({ context, palette, random, unit }: Stage, line: Line, below: number, depth: number): void {
  context.fillStyle = fade(mix('#ffffff', palette.sky[2], 0.25 + depth * 0.3), 0.85);
  context.beginPath();
  for (const { x, y } of line) context.lineTo(x, Math.min(y, below));
  for (const { x, y } of [...line].reverse()) {
    context.lineTo(x, Math.max(Math.min(y, below), Math.min(below, y + unit * 0.09) - random() * unit * 0.03));
  }
  context.fill();
}

function drawShade({ context, width, height, palette }: Stage, line: Line, depth: number): void {
  const shade = context.createLinearGradient(0, 0, width, 0);
  for (let stop = 0; stop <= 12; stop++) {
    const index = Math.min(line.length - 2, Math.floor((stop / 12) * (line.length - 1)));
    const slope = (line[index + 1]!.y - line[index]!.y) / Math.max(1, line[index + 1]!.x - line[index]!.x);
    shade.addColorStop(
      stop / 12,
      slope > 0 ? fade(palette.near, Math.min(0.5, slope * 1.6)) : fade(palette.light, Math.min(0.4, -slope * 1.3)),
    );
  }
  context.save();
  context.globalAlpha = 0.75 - depth * 0.25;
  context.fillStyle = shade;
  context.beginPath();
  context.moveTo(0, height);
  for (const { x, y } of line) context.lineTo(x, y);
  context.lineTo(width, height);
  context.fill();
  context.restore();
}

/** A pine that stands on (x, y). */
export function drawPine({ context }: Stage, x: number, y: number, size: number, colour: string): void {
  context.fillStyle = colour;
  context.fillRect(x - size * 0.03, y - size * 0.15, size * 0.06, size * 0.17);
  for (let tier = 0; tier < 4; tier++) {
    const [top, half] = [y - size * (1 - tier * 0.18), size * (0.11 + tier * 0.055)];
    context.beginPath();
    context.moveTo(x, top);
    context.lineTo(x + half, top + size * 0.32);
    context.lineTo(x - half, top + size * 0.32);
    context.fill();
  }
}

/** A broad-leaved tree that stands on (x, y). */
export function drawTree({ context, random }: Stage, x: number, y: number, size: number, colour: string): void {
  context.fillStyle = colour;
  context.fillRect(x - size * 0.06, y - size * 0.6, size * 0.12, size * 0.65);
  for (let leaf = 0; leaf < 7; leaf++) {
    context.beginPath();
    context.arc(
      x + (random() - 0.5) * size * 0.7,
      y - size * between(random, 0.6, 1.15),
      size * between(random, 0.18, 0.32),
      0,
      7,
    );
    context.fill();
  }
}

function drawWater(stage: Stage, light: Light): void {
  const { context, width, height, horizon, palette, random, unit } = stage;
  if (random() < 0.8) {
    context.fillStyle = mix(palette.far, palette.sky[2], 0.25);
    fillBelow(stage, ridge(stage, horizon + height * 0.005, height * between(random, 0.06, 0.13), 0.5));
  }
  const deep = mix(palette.far, palette.near, 0.85);
  const water = context.createLinearGradient(0, horizon, 0, height);
  water.addColorStop(0, mix(palette.sky[2], palette.far, 0.35));
  water.addColorStop(0.25, mix(palette.sky[1], palette.far, 0.5));
  water.addColorStop(1, deep);
  context.fillStyle = water;
  context.fillRect(0, horizon, width, height - horizon);
  for (let index = 0; index < 420; index++) {
    const depth = random() ** 1.5;
    const y = horizon + depth * (height - horizon);
    const length = unit * (0.012 + depth * 0.12) * between(random, 0.5, 1.5);
    const x = random() * width;
    const near = Math.exp(-(((x - light.x) / (light.radius * (1.2 + depth * 3.2))) ** 2));
    const glint = random() < near;
    context.fillStyle = glint
      ? fade(palette.light, 0.2 + 0.5 * (1 - depth))
      : fade(random() < 0.5 ? palette.sky[2] : deep, 0.16);
    context.beginPath();
    context.ellipse(x, y, length, Math.max(0.6, unit * (0.0012 + depth * 0.005)), 0, 0, 7);
    context.fill();
  }
  for (let index = 0; index < 46; index++) {
    const depth = index / 46;
    const y = horizon + depth ** 1.2 * (height - horizon) * 0.95;
    const half = light.radius * (0.45 + depth * 1.3) * between(random, 0.35, 1.1);
    context.fillStyle = fade(palette.light, 0.5 * (1 - depth) + 0.06);
    context.beginPath();
    context.ellipse(
      light.x + (random() - 0.5) * half,
      y,
      half,
      Math.max(0.6, unit * (0.0018 + depth * 0.004)),
      0,
      0,
      7,
    );
    context.fill();
  }
}

function drawCity(stage: Stage): void {
  const { context, width, height, horizon, palette, random, unit, words } = stage;
  const lit = /\b(night|midnight|evening|dusk|sunset|neon|cyberpunk|moon\w*|dark|rain\w*|twilight)\b/.test(words)
    ? 0.5
    : 0.16;
  for (let layer = 0; layer < 3; layer++) {
    const depth = layer / 2;
    const colour = mix(mix(palette.far, palette.sky[2], 0.25), palette.near, depth ** 0.8);
    const base = horizon + depth * (height - horizon) * 0.6;
    for (let x = -unit * 0.05; x < width; ) {
      const broad = unit * between(random, 0.045, 0.1) * (0.7 + depth * 0.6);
      const tall = unit * between(random, 0.14, 0.42) * (random() < 0.18 ? 1.5 : 1) * (1 - depth * 0.2);
      const front = context.createLinearGradient(0, base - tall, 0, base + unit * 0.2);
      front.addColorStop(0, colour);
      front.addColorStop(1, mix(colour, palette.sky[2], 0.3 * (1 - depth)));
      context.fillStyle = front;
      context.fillRect(x, base - tall, broad + 1, height - base + tall);
      if (random() < 0.3)
        context.fillRect(x + broad * 0.46, base - tall - unit * 0.05, Math.max(1, broad * 0.06), unit * 0.05);
      const pane = Math.max(2, unit * (0.008 + depth * 0.005));
      for (let wy = base - tall + pane * 1.5; wy < height; wy += pane * 2.1) {
        for (let wx = x + pane; wx < x + broad - pane; wx += pane * 1.9) {
          if (random() > lit * (0.35 + depth * 0.65)) continue;
          context.fillStyle = fade(random() < 0.75 ? palette.accents[0]! : palette.light, between(random, 0.4, 0.95));
          context.fillRect(wx, wy, pane * 0.9, pane * 1.15);
        }
      }
      x += broad * between(random, 1, 1.25);
    }
    const haze = context.createLinearGradient(0, base - unit * 0.1, 0, height);
    haze.addColorStop(0, fade(palette.sky[2], 0));
    haze.addColorStop(1, fade(palette.sky[2], 0.3 * (1 - depth)));
    context.fillStyle = haze;
    context.fillRect(0, 0, width, height);
  }
}
