import { drawTree, type Ground } from './ground.ts';
import { fade, mix } from './palette.ts';
import { between } from './random.ts';
import type { Stage } from './scene.ts';
import { drawFireflies, drawMist, drawRain, drawSnowfall } from './weather.ts';

/** Draws what the prompt names and a silhouette exists for, and the weather above it. */
export function drawThings(stage: Stage, ground: Ground): void {
  for (const [words, draw] of things) if (words.test(stage.words)) draw(stage, ground);
}

const things: [words: RegExp, draw: (stage: Stage, ground: Ground) => void][] = [
  [/\b(balloons?)\b/, drawBalloons],
  [/\b(birds?|gulls?|seagulls?|crows?|flock|geese)\b/, drawBirds],
  [/\b(lighthouse)\b/, drawLighthouse],
  [/\b(house|cabin|cottage|farm|village|hut|home)\b/, drawHouse],
  [/\b(boats?|ships?|sail\w*|harbou?r)\b/, drawBoat],
  [/\b(old tree|lone tree|oak|tree)\b/, drawLoneTree],
  [/\b(rockets?|spaceship|astronauts?)\b/, drawRocket],
  [/\b(fox|foxes|cats?|kitten|wolf|dogs?)\b/, drawAnimal],
  [/\b(flowers?|meadow|spring|garden|tulips?|poppies|lavender)\b/, drawFlowers],
  [/\b(fog\w*|mist\w*|haz[ey]\w*)\b/, drawMist],
  [/\b(rain\w*|storm\w*|thunder)\b/, drawRain],
  [/\b(snow\w*|blizzard)\b/, drawSnowfall],
  [/\b(firefl(y|ies)|lanterns?|magic\w*|sparks?|enchanted|fairy)\b/, drawFireflies],
];

function drawBirds({ context, width, horizon, palette, random, unit }: Stage): void {
  const [x, y] = [width * between(random, 0.2, 0.7), horizon * between(random, 0.25, 0.5)];
  context.strokeStyle = fade(palette.near, 0.85);
  context.lineCap = 'round';
  for (let index = 0; index < 11; index++) {
    const size = unit * between(random, 0.012, 0.026);
    const [bx, by] = [x + (random() - 0.5) * unit * 0.5, y + (random() - 0.5) * unit * 0.2];
    context.lineWidth = size * 0.16;
    context.beginPath();
    context.moveTo(bx - size, by - size * 0.35);
    context.quadraticCurveTo(bx - size * 0.4, by - size * 0.55, bx, by);
    context.quadraticCurveTo(bx + size * 0.4, by - size * 0.55, bx + size, by - size * 0.35);
    context.stroke();
  }
}

function drawBalloons({ context, width, horizon, palette, random, unit }: Stage): void {
  for (let index = 0; index < 4; index++) {
    const size = unit * between(random, 0.05, 0.11);
    const [x, y] = [width * (0.16 + index * 0.23 + (random() - 0.5) * 0.1), horizon * between(random, 0.2, 0.62)];
    const colour = palette.accents[index % palette.accents.length]!;
    for (let stripe = 0; stripe < 5; stripe++) {
      context.fillStyle = stripe % 2 ? mix(colour, '#ffffff', 0.55) : mix(colour, palette.near, stripe * 0.05);
      context.beginPath();
      context.ellipse(x, y, size * (1 - stripe * 0.22), size * 1.1, 0, 0, 7);
      context.fill();
    }
    context.strokeStyle = fade(palette.near, 0.7);
    context.lineWidth = Math.max(0.7, size * 0.03);
    for (const side of [-1, 1]) {
      context.beginPath();
      context.moveTo(x + side * size * 0.5, y + size * 0.95);
      context.lineTo(x + side * size * 0.16, y + size * 1.5);
      context.stroke();
    }
    context.fillStyle = mix('#7a4a24', palette.near, 0.3);
    context.fillRect(x - size * 0.18, y + size * 1.48, size * 0.36, size * 0.24);
  }
}

function drawBoat({ context, width, height, horizon, palette, random, unit }: Stage): void {
  const size = unit * between(random, 0.12, 0.17);
  const [x, y] = [width * between(random, 0.3, 0.7), horizon + (height - horizon) * between(random, 0.22, 0.4)];
  context.fillStyle = fade(palette.near, 0.3);
  context.beginPath();
  context.ellipse(x, y + size * 0.2, size * 0.75, size * 0.06, 0, 0, 7);
  context.fill();
  context.fillStyle = mix(palette.accents[0]!, '#ffffff', 0.75);
  context.beginPath();
  context.moveTo(x + size * 0.03, y - size * 1.15);
  context.quadraticCurveTo(x + size * 0.6, y - size * 0.5, x + size * 0.55, y - size * 0.08);
  context.lineTo(x + size * 0.03, y - size * 0.08);
  context.fill();
  context.fillStyle = palette.accents[0]!;
  context.beginPath();
  context.moveTo(x - size * 0.03, y - size * 0.98);
  context.quadraticCurveTo(x - size * 0.3, y - size * 0.4, x - size * 0.45, y - size * 0.08);
  context.lineTo(x - size * 0.03, y - size * 0.08);
  context.fill();
  context.fillStyle = mix('#5a2f1c', palette.near, 0.5);
  context.fillRect(x - size * 0.02, y - size * 1.2, size * 0.04, size * 1.25);
  context.beginPath();
  context.moveTo(x - size * 0.62, y - size * 0.04);
  context.lineTo(x + size * 0.68, y - size * 0.04);
  context.quadraticCurveTo(x + size * 0.5, y + size * 0.2, x + size * 0.34, y + size * 0.2);
  context.lineTo(x - size * 0.4, y + size * 0.2);
  context.quadraticCurveTo(x - size * 0.56, y + size * 0.14, x - size * 0.62, y - size * 0.04);
  context.fill();
}

function drawLighthouse({ context, width, height, horizon, palette, random, unit }: Stage): void {
  const left = random() < 0.5;
  const [x, base, size] = [width * (left ? 0.16 : 0.84), horizon + unit * 0.05, unit * 0.4];
  context.fillStyle = mix(palette.far, palette.near, 0.9);
  context.beginPath();
  context.moveTo(left ? 0 : width, base - unit * 0.04);
  context.quadraticCurveTo(x, base - unit * 0.1, x + (left ? 1 : -1) * unit * 0.3, base + unit * 0.1);
  context.lineTo(left ? 0 : width, Math.min(height, base + unit * 0.14));
  context.fill();
  const [lampX, lampY] = [x, base - size - unit * 0.02];
  for (const side of [-1, 1]) {
    const beam = context.createLinearGradient(lampX, 0, lampX + side * unit, 0);
    beam.addColorStop(0, fade(palette.light, 0.6));
    beam.addColorStop(1, fade(palette.light, 0));
    context.fillStyle = beam;
    context.beginPath();
    context.moveTo(lampX, lampY);
    context.lineTo(lampX + side * unit, lampY - unit * 0.1);
    context.lineTo(lampX + side * unit, lampY + unit * 0.1);
    context.fill();
  }
  for (let band = 0; band < 6; band++) {
    const [top, bottom] = [band / 6, (band + 1) / 6];
    const half = (share: number) => size * (0.075 + share * 0.05);
    context.fillStyle = mix(band % 2 ? '#f4f1ea' : '#d1333b', palette.near, 0.25);
    context.beginPath();
    context.moveTo(x - half(top), base - size * (0.96 - top));
    context.lineTo(x + half(top), base - size * (0.96 - top));
    context.lineTo(x + half(bottom), base - size * (0.96 - bottom));
    context.lineTo(x - half(bottom), base - size * (0.96 - bottom));
    context.fill();
  }
  context.fillStyle = palette.light;
  context.fillRect(x - size * 0.05, base - size * 1.08, size * 0.1, size * 0.1);
  context.fillStyle = mix('#a3222b', palette.near, 0.4);
  context.fillRect(x - size * 0.095, base - size * 0.99, size * 0.19, size * 0.03);
  context.beginPath();
  context.moveTo(x - size * 0.08, base - size * 1.08);
  context.lineTo(x, base - size * 1.18);
  context.lineTo(x + size * 0.08, base - size * 1.08);
  context.fill();
}

function drawHouse({ context, width, height, palette, random, unit }: Stage, ground: Ground): void {
  const size = unit * 0.17;
  const [x, y] = [width * between(random, 0.25, 0.7), height * (ground === 'water' ? 0.62 : 0.86)];
  const wall = mix(mix(palette.accents[0]!, '#f3e9d8', 0.6), palette.near, 0.35);
  context.fillStyle = wall;
  context.fillRect(x, y - size * 0.6, size, size * 0.6);
  context.fillStyle = mix('#7a2e22', palette.near, 0.35);
  context.fillRect(x + size * 0.7, y - size * 1.05, size * 0.12, size * 0.3);
  context.beginPath();
  context.moveTo(x - size * 0.12, y - size * 0.58);
  context.lineTo(x + size * 0.5, y - size * 1.08);
  context.lineTo(x + size * 1.12, y - size * 0.58);
  context.fill();
  context.fillStyle = mix('#ffd98a', palette.light, 0.3);
  for (const left of [0.14, 0.66]) context.fillRect(x + size * left, y - size * 0.44, size * 0.2, size * 0.2);
  context.fillStyle = mix('#4a2a18', palette.near, 0.4);
  context.fillRect(x + size * 0.42, y - size * 0.36, size * 0.17, size * 0.36);
}

function drawLoneTree(stage: Stage, ground: Ground): void {
  if (ground === 'forest' || ground === 'water') return;
  const { width, height, palette, random, unit } = stage;
  drawTree(
    stage,
    width * between(random, 0.15, 0.85),
    height * 0.9,
    unit * 0.3,
    mix(palette.accents[1]!, palette.near, 0.7),
  );
}

function drawRocket({ context, width, height, palette, random, unit }: Stage): void {
  const size = unit * 0.2;
  context.save();
  context.translate(width * between(random, 0.2, 0.8), height * between(random, 0.62, 0.78));
  context.rotate(0.6);
  const flame = context.createLinearGradient(0, size * 0.5, 0, size * 1.3);
  flame.addColorStop(0, '#fff3b0');
  flame.addColorStop(1, 'rgba(255,90,30,0)');
  context.fillStyle = flame;
  context.beginPath();
  context.moveTo(-size * 0.14, size * 0.5);
  context.lineTo(0, size * 1.3);
  context.lineTo(size * 0.14, size * 0.5);
  context.fill();
  context.fillStyle = palette.accents[0]!;
  context.beginPath();
  context.moveTo(-size * 0.2, size * 0.1);
  context.lineTo(-size * 0.4, size * 0.58);
  context.lineTo(size * 0.4, size * 0.58);
  context.lineTo(size * 0.2, size * 0.1);
  context.fill();
  context.fillStyle = '#eef1f7';
  context.beginPath();
  context.moveTo(0, -size * 0.7);
  context.bezierCurveTo(size * 0.35, -size * 0.25, size * 0.25, size * 0.3, size * 0.15, size * 0.52);
  context.lineTo(-size * 0.15, size * 0.52);
  context.bezierCurveTo(-size * 0.25, size * 0.3, -size * 0.35, -size * 0.25, 0, -size * 0.7);
  context.fill();
  context.fillStyle = mix(palette.sky[1], '#2f6fde', 0.5);
  context.beginPath();
  context.arc(0, -size * 0.12, size * 0.11, 0, 7);
  context.fill();
  context.restore();
}

/** One that sits, seen from the front; its colour tells a fox from a cat. */
function drawAnimal({ context, width, height, palette, random, unit, words }: Stage): void {
  const size = unit * 0.3;
  const [x, y] = [width * between(random, 0.3, 0.7), height * 0.9];
  const coat = mix(/\bfox/.test(words) ? '#d9642a' : palette.near, palette.near, 0.18);
  const ellipse = (dx: number, dy: number, rx: number, ry: number, turn = 0) => {
    context.beginPath();
    context.ellipse(x + dx * size, y + dy * size, rx * size, ry * size, turn, 0, 7);
    context.fill();
  };
  context.fillStyle = coat;
  context.lineWidth = size * 0.12;
  context.lineCap = 'round';
  context.strokeStyle = coat;
  context.beginPath();
  context.moveTo(x + size * 0.15, y - size * 0.06);
  context.bezierCurveTo(x + size * 0.6, y, x + size * 0.5, y - size * 0.4, x + size * 0.42, y - size * 0.5);
  context.stroke();
  ellipse(0, -0.24, 0.24, 0.28);
  ellipse(0, -0.62, 0.19, 0.16);
  for (const side of [-1, 1]) {
    context.beginPath();
    context.moveTo(x + side * size * 0.18, y - size * 0.66);
    context.lineTo(x + side * size * 0.16, y - size * 0.92);
    context.lineTo(x + side * size * 0.03, y - size * 0.76);
    context.fill();
  }
  context.fillStyle = fade(mix(coat, '#ffffff', 0.75), 0.9);
  ellipse(0, -0.3, 0.1, 0.15);
  ellipse(0, -0.55, 0.08, 0.06);
  context.fillStyle = palette.light;
  for (const side of [-1, 1]) ellipse(side * 0.08, -0.65, 0.026, 0.032);
  context.fillStyle = '#1a1014';
  for (const side of [-1, 1]) ellipse(side * 0.08, -0.65, 0.012, 0.03);
  ellipse(0, -0.575, 0.025, 0.018);
}

function drawFlowers({ context, width, height, horizon, palette, random, unit }: Stage, ground: Ground): void {
  if (ground === 'water' || ground === 'space' || ground === 'city') return;
  for (let index = 0; index < 260; index++) {
    const depth = random() ** 0.6;
    const y = height - (1 - depth) * (height - horizon) * 0.6;
    const size = unit * (0.003 + depth * 0.011) * between(random, 0.7, 1.3);
    const x = random() * width;
    context.fillStyle = fade(palette.accents[index % palette.accents.length]!, 0.9);
    for (let petal = 0; petal < 5; petal++) {
      const angle = (petal / 5) * Math.PI * 2;
      context.beginPath();
      context.arc(x + Math.cos(angle) * size * 0.6, y + Math.sin(angle) * size * 0.5, size * 0.5, 0, 7);
      context.fill();
    }
    context.fillStyle = palette.light;
    context.beginPath();
    context.arc(x, y, size * 0.4, 0, 7);
    context.fill();
  }
}
