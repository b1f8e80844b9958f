import { fade, mix } from './palette.ts';
import { between } from './random.ts';
import type { Stage } from './scene.ts';

/** Banks of mist around the horizon. */
export function drawMist({ context, width, height, horizon, palette, random, unit }: Stage): void {
  for (let index = 0; index < 12; index++) {
    const [x, y] = [random() * width, horizon + between(random, -0.15, 0.25) * height];
    const radius = unit * between(random, 0.3, 0.7);
    const soft = context.createRadialGradient(x, y, 0, x, y, radius);
    soft.addColorStop(0, fade(palette.sky[2], 0.28));
    soft.addColorStop(1, fade(palette.sky[2], 0));
    context.fillStyle = soft;
    context.fillRect(x - radius, y - radius, radius * 2, radius * 2);
  }
}

/** Rain over the whole picture. */
export function drawRain({ context, width, height, palette, random, unit }: Stage): void {
  context.lineCap = 'round';
  for (let index = 0; index < 420; index++) {
    const length = unit * between(random, 0.02, 0.06);
    const [x, y] = [random() * width * 1.1, random() * height];
    context.strokeStyle = fade(palette.light, between(random, 0.1, 0.4));
    context.lineWidth = Math.max(0.6, unit * 0.0018);
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x - length * 0.25, y + length);
    context.stroke();
  }
}

/** Flakes over the whole picture. */
export function drawSnowfall({ context, width, height, random, unit }: Stage): void {
  for (let index = 0; index < 320; index++) {
    context.fillStyle = `rgba(255,255,255,${between(random, 0.35, 0.95)})`;
    context.beginPath();
    context.arc(random() * width, random() * height, unit * between(random, 0.0012, 0.006), 0, 7);
    context.fill();
  }
}

/** Small lights above the ground. */
export function drawFireflies({ context, width, height, horizon, palette, random, unit }: Stage): void {
  for (let index = 0; index < 60; index++) {
    const [x, y] = [random() * width, horizon - height * 0.2 + random() * height * 0.5];
    const radius = unit * between(random, 0.006, 0.02);
    const glow = context.createRadialGradient(x, y, 0, x, y, radius);
    glow.addColorStop(0, fade(mix(palette.accents[0]!, '#fff6b0', 0.7), 0.95));
    glow.addColorStop(1, fade(palette.accents[0]!, 0));
    context.fillStyle = glow;
    context.fillRect(x - radius, y - radius, radius * 2, radius * 2);
  }
}
