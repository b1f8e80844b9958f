import { fade, mix } from './palette.ts';
import { between, pick } from './random.ts';
import type { Stage } from './scene.ts';

/** A composition of plain shapes, for a prompt that names nothing that can be drawn. */
export function drawAbstract(stage: Stage): void {
  const { context, width, height, palette, random } = stage;
  const angle = random() * Math.PI;
  const reach = Math.hypot(width, height) / 2;
  const [dx, dy] = [Math.cos(angle) * reach, Math.sin(angle) * reach];
  const ground = context.createLinearGradient(width / 2 - dx, height / 2 - dy, width / 2 + dx, height / 2 + dy);
  for (const [index, colour] of palette.sky.entries()) ground.addColorStop(index / 2, colour);
  context.fillStyle = ground;
  context.fillRect(0, 0, width, height);
  pick(random, [drawRibbons, drawDiscs, drawFacets])(stage);
}

function colours({ palette }: Stage): string[] {
  return [...palette.accents.slice(0, 4), palette.light, palette.sky[1]];
}

function drawRibbons(stage: Stage): void {
  const { context, width, height, random, palette } = stage;
  const list = colours(stage);
  const slope = between(random, -0.25, 0.25) * height;
  for (let ribbon = 0; ribbon < 9; ribbon++) {
    const colour = list[ribbon % list.length]!;
    const middle = height * (0.08 + (ribbon / 8) * 0.86);
    const swing = height * between(random, 0.06, 0.2);
    const phase = random() * 7;
    const thick = height * between(random, 0.05, 0.16);
    const y = (x: number, side: number) =>
      middle +
      slope * (x / width - 0.5) +
      Math.sin((x / width) * 5 + phase) * swing +
      side * thick * (0.55 + 0.45 * Math.sin((x / width) * 4 + phase * 2));
    const shade = context.createLinearGradient(0, 0, width, 0);
    shade.addColorStop(0, fade(colour, 0.85));
    shade.addColorStop(0.5, fade(mix(colour, palette.light, 0.45), 0.75));
    shade.addColorStop(1, fade(mix(colour, palette.near, 0.35), 0.85));
    context.fillStyle = shade;
    context.shadowColor = fade(palette.near, 0.45);
    context.shadowBlur = height * 0.03;
    context.beginPath();
    for (let step = 0; step <= 60; step++) context.lineTo((step / 60) * width, y((step / 60) * width, -0.5));
    for (let step = 60; step >= 0; step--) context.lineTo((step / 60) * width, y((step / 60) * width, 0.5));
    context.fill();
  }
  context.shadowBlur = 0;
  context.shadowColor = 'transparent';
}

function drawDiscs(stage: Stage): void {
  const { context, width, height, random, palette, unit } = stage;
  const list = colours(stage);
  for (let disc = 0; disc < 16; disc++) {
    const radius = unit * between(random, 0.05, 0.3) * (disc < 3 ? 1.25 : 0.85);
    const [x, y] = [width * between(random, 0.05, 0.95), height * between(random, 0.05, 0.9)];
    const colour = list[disc % list.length]!;
    if (disc % 4 === 3) {
      context.strokeStyle = fade(colour, 0.8);
      context.lineWidth = unit * between(random, 0.006, 0.02);
      context.beginPath();
      context.arc(x, y, radius, random() * 6, random() * 6 + 3);
      context.stroke();
      continue;
    }
    const body = context.createRadialGradient(x - radius * 0.4, y - radius * 0.4, radius * 0.05, x, y, radius);
    body.addColorStop(0, fade(mix(colour, '#ffffff', 0.55), 0.92));
    body.addColorStop(0.6, fade(colour, 0.85));
    body.addColorStop(1, fade(mix(colour, palette.near, 0.5), 0.8));
    context.fillStyle = body;
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.fill();
  }
}

function drawFacets(stage: Stage): void {
  const { context, width, height, random, palette } = stage;
  const list = [...palette.sky, ...palette.accents.slice(0, 2), palette.light];
  const columns = Math.max(3, Math.round((width / Math.max(width, height)) * 9));
  const rows = Math.max(3, Math.round((height / Math.max(width, height)) * 9));
  const points = Array.from({ length: (columns + 1) * (rows + 1) }, (_, index) => {
    const [column, row] = [index % (columns + 1), Math.floor(index / (columns + 1))];
    const loose = (at: number, last: number) => (at === 0 || at === last ? 0 : (random() - 0.5) * 0.75);
    return { x: ((column + loose(column, columns)) / columns) * width, y: ((row + loose(row, rows)) / rows) * height };
  });
  const tone = between(random, 0.6, 1.6);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const corner = (right: number, down: number) => points[(row + down) * (columns + 1) + column + right]!;
      const halves =
        random() < 0.5
          ? [
              [corner(0, 0), corner(1, 0), corner(1, 1)],
              [corner(0, 0), corner(1, 1), corner(0, 1)],
            ]
          : [
              [corner(0, 0), corner(1, 0), corner(0, 1)],
              [corner(1, 0), corner(1, 1), corner(0, 1)],
            ];
      for (const triangle of halves) {
        const place = ((column / columns) * tone + row / rows) / (tone + 1) + (random() - 0.5) * 0.22;
        const at = Math.min(list.length - 1.001, Math.max(0, place * (list.length - 1)));
        const colour = mix(list[Math.floor(at)]!, list[Math.floor(at) + 1]!, at % 1);
        context.fillStyle = mix(colour, random() < 0.5 ? palette.near : '#ffffff', random() * 0.22);
        context.strokeStyle = context.fillStyle;
        context.lineWidth = 1;
        context.beginPath();
        for (const { x, y } of triangle) context.lineTo(x, y);
        context.closePath();
        context.fill();
        context.stroke();
      }
    }
  }
}
