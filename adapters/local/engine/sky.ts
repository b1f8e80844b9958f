import type { Ground } from './ground.ts';
import { fade, mix } from './palette.ts';
import { between } from './random.ts';
import type { Stage } from './scene.ts';

/** Where the light comes from: the sun or the moon. */
export interface Light {
  x: number;
  y: number;
  radius: number;
}

/** Sky, stars, sun or moon, and clouds. */
export function drawSky(stage: Stage, ground: Ground): Light {
  const { context, width, height, horizon, palette, words, random, unit } = stage;
  const gradient = context.createLinearGradient(0, 0, 0, ground === 'space' ? height : horizon);
  for (const [index, colour] of palette.sky.entries()) gradient.addColorStop([0, 0.58, 1][index]!, colour);
  context.fillStyle = gradient;
  context.fillRect(0, 0, width, height);

  const night =
    /\b(night|midnight|moon\w*|stars?|starry|nocturnal|neon|cyberpunk|synthwave)\b/.test(words) || ground === 'space';
  const low = /\b(sunset|sunrise|dawn|dusk|evening|twilight|golden hour|synthwave)\b/.test(words);
  if (ground === 'space') drawNebula(stage);
  if (night) drawStars(stage, ground);
  const light: Light = {
    x: width * between(random, 0.22, 0.78),
    y: low ? horizon - height * between(random, 0.05, 0.12) : height * between(random, 0.14, 0.28),
    radius: unit * (low ? between(random, 0.085, 0.11) : between(random, 0.05, 0.07)),
  };
  if (ground === 'space') drawPlanet(stage);
  else if (!/\b(rain\w*|storm\w*|fog\w*|thunder)\b/.test(words)) drawLight(stage, light, night && !low);
  if (ground !== 'space') drawClouds(stage, night ? 3 : 7);
  return light;
}

function drawStars({ context, width, height, horizon, palette, random, unit }: Stage, ground: Ground): void {
  const depth = ground === 'space' ? height : horizon;
  const count = Math.round(Math.min(900, (width * depth * 450) / unit ** 2) * (ground === 'space' ? 1 : 0.55));
  for (let index = 0; index < count; index++) {
    const size = unit * between(random, 0.0008, 0.0026) * (random() < 0.04 ? 2.2 : 1);
    context.fillStyle = fade(palette.light, between(random, 0.3, 1));
    context.beginPath();
    context.arc(random() * width, random() ** 1.4 * depth, Math.max(0.5, size), 0, 7);
    context.fill();
  }
}

function drawLight({ context, width, height, palette, unit }: Stage, { x, y, radius }: Light, moon: boolean): void {
  const glow = context.createRadialGradient(x, y, radius * 0.5, x, y, unit * (moon ? 0.45 : 0.8));
  glow.addColorStop(0, fade(palette.light, moon ? 0.45 : 0.75));
  glow.addColorStop(0.25, fade(palette.light, moon ? 0.14 : 0.28));
  glow.addColorStop(1, fade(palette.light, 0));
  context.fillStyle = glow;
  context.fillRect(0, 0, width, height);
  context.fillStyle = palette.light;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fill();
  if (!moon) return;
  context.fillStyle = fade(palette.sky[1], 0.16);
  for (const [dx, dy, size] of [
    [-0.35, -0.2, 0.22],
    [0.25, 0.3, 0.28],
    [0.3, -0.4, 0.13],
    [-0.2, 0.45, 0.12],
  ] as const) {
    context.beginPath();
    context.arc(x + dx * radius, y + dy * radius, size * radius, 0, 7);
    context.fill();
  }
}

function drawClouds({ context, width, horizon, palette, random, unit }: Stage, count: number): void {
  for (let index = 0; index < count; index++) {
    const [x, y] = [between(random, -0.05, 1.05) * width, between(random, 0.08, 0.78) * horizon];
    const length = unit * between(random, 0.18, 0.45);
    const colour = mix(palette.sky[2], palette.light, random());
    for (let puff = 0; puff < 14; puff++) {
      const along = random() - 0.5;
      const radius = length * between(random, 0.1, 0.2) * (1.25 - Math.abs(along) * 1.6);
      const [px, py] = [x + along * length * 1.5, y - random() * radius * 0.7];
      const soft = context.createRadialGradient(px, py, 0, px, py, radius);
      soft.addColorStop(0, fade(colour, 0.2));
      soft.addColorStop(1, fade(colour, 0));
      context.fillStyle = soft;
      context.beginPath();
      context.ellipse(px, py, radius, radius * 0.6, 0, 0, 7);
      context.fill();
    }
  }
}

function drawNebula({ context, width, height, palette, random, unit }: Stage): void {
  context.globalCompositeOperation = 'screen';
  for (let index = 0; index < 26; index++) {
    const along = random();
    const [x, y] = [along * width, height * (0.75 - along * 0.5 + (random() - 0.5) * 0.45)];
    const radius = unit * between(random, 0.15, 0.45);
    const soft = context.createRadialGradient(x, y, 0, x, y, radius);
    const colour = [palette.sky[2], ...palette.accents][index % (palette.accents.length + 1)]!;
    soft.addColorStop(0, fade(colour, 0.16));
    soft.addColorStop(1, fade(colour, 0));
    context.fillStyle = soft;
    context.fillRect(x - radius, y - radius, radius * 2, radius * 2);
  }
  context.globalCompositeOperation = 'source-over';
}

function drawPlanet({ context, width, height, palette, random, unit }: Stage): void {
  const [x, y] = [width * between(random, 0.28, 0.72), height * between(random, 0.34, 0.55)];
  const radius = unit * between(random, 0.16, 0.24);
  const accent = palette.accents[0]!;
  const ring = (from: number, to: number) => {
    context.strokeStyle = fade(palette.accents[2]!, 0.55);
    for (let band = 0; band < 5; band++) {
      context.lineWidth = radius * 0.035;
      context.beginPath();
      context.ellipse(x, y, radius * (1.45 + band * 0.1), radius * (0.36 + band * 0.03), -0.35, from, to);
      context.stroke();
    }
  };
  ring(Math.PI, 2 * Math.PI);
  const body = context.createRadialGradient(x - radius * 0.45, y - radius * 0.45, radius * 0.1, x, y, radius * 1.05);
  body.addColorStop(0, mix(accent, '#ffffff', 0.55));
  body.addColorStop(0.5, accent);
  body.addColorStop(1, mix(accent, palette.near, 0.85));
  context.fillStyle = body;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fill();
  ring(0, Math.PI);
}
