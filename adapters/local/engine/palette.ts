import { between, type Random } from './random.ts';

/** The colours of one picture, as #rrggbb. */
export interface Palette {
  /** Zenith, middle, horizon. */
  sky: [string, string, string];
  /** Sun, moon, lamps. */
  light: string;
  /** Land at the horizon; what is nearer is mixed towards `near`. */
  far: string;
  near: string;
  accents: string[];
}

const moods: [words: RegExp, palette: Palette][] = [
  [
    /\b(space|galaxy|nebula|cosmos|cosmic|planets?|astronauts?|universe)\b/,
    {
      sky: ['#05021a', '#26104f', '#6a2580'],
      light: '#fdf3ff',
      far: '#4b2a7a',
      near: '#0a0518',
      accents: ['#ff7ad9', '#6ee7ff', '#ffd166'],
    },
  ],
  [
    /\b(sunset|dusk|evening|twilight|golden hour)\b/,
    {
      sky: ['#2b1b5a', '#c8436f', '#ffab5e'],
      light: '#fff0b8',
      far: '#8c4a78',
      near: '#1c1030',
      accents: ['#ffb84d', '#ff6b6b', '#ffe08a'],
    },
  ],
  [
    /\b(neon|cyberpunk|synthwave|retro ?wave|vaporwave)\b/,
    {
      sky: ['#12052e', '#5b1482', '#ff3f9b'],
      light: '#fff06a',
      far: '#6a1b9a',
      near: '#0c0420',
      accents: ['#00f0ff', '#ff2bd6', '#fff06a'],
    },
  ],
  [
    /\b(night|midnight|moon|moonlit|moonlight|stars?|starry|dark|nocturnal)\b/,
    {
      sky: ['#050a1f', '#15295e', '#3f6199'],
      light: '#f6f2dc',
      far: '#2a4476',
      near: '#050a18',
      accents: ['#ffd98a', '#8fb8ff', '#c7d8ff'],
    },
  ],
  [
    /\b(dawn|sunrise|morning)\b/,
    {
      sky: ['#5f86bd', '#f2b3b4', '#ffe8c2'],
      light: '#fffbe8',
      far: '#a3a3c6',
      near: '#2c3653',
      accents: ['#ffb5a7', '#ffd6a5', '#9bb8e8'],
    },
  ],
  [
    /\b(fire|fiery|lava|volcano|volcanic|flames?|burning|hell)\b/,
    {
      sky: ['#1a0505', '#7a1a0d', '#ff7a1a'],
      light: '#fff0a0',
      far: '#6e2013',
      near: '#120404',
      accents: ['#ff3b1f', '#ffb300', '#ffe27a'],
    },
  ],
  [
    /\b(storm|stormy|rain|rainy|raining|thunder|gloomy|grey|gray|fog|foggy|mist|misty)\b/,
    {
      sky: ['#2c3743', '#5d6d7c', '#aab8c2'],
      light: '#eef3f5',
      far: '#71818f',
      near: '#18212a',
      accents: ['#9fc3d6', '#d6e4ea', '#f2c14e'],
    },
  ],
  [
    /\b(autumn|fall leaves|october|harvest)\b/,
    {
      sky: ['#7fa3b8', '#f0c48a', '#fbe3bd'],
      light: '#fff7df',
      far: '#c98a4e',
      near: '#4a1f14',
      accents: ['#d1495b', '#edae49', '#a3501f'],
    },
  ],
  [
    /\b(snow|snowy|winter|ice|icy|frozen|arctic|glacier)\b/,
    {
      sky: ['#6f9fd0', '#c3daee', '#f4f9fd'],
      light: '#ffffff',
      far: '#b3c9de',
      near: '#37526f',
      accents: ['#e63946', '#8ecae6', '#ffffff'],
    },
  ],
  [
    /\b(desert|dunes?|sahara|canyon|sand|sandy|mars)\b/,
    {
      sky: ['#4c97c6', '#f0d3a4', '#fbeccb'],
      light: '#fff8df',
      far: '#dba268',
      near: '#7a3d1f',
      accents: ['#e07a5f', '#f2cc8f', '#3d405b'],
    },
  ],
  [
    /\b(forest|woods?|woodland|jungle|trees?|pines?)\b/,
    {
      sky: ['#6fae9f', '#bfdcb6', '#f7f2c8'],
      light: '#fffde6',
      far: '#7fae92',
      near: '#0f2a1e',
      accents: ['#f4a261', '#e9c46a', '#c8e6a0'],
    },
  ],
  [
    /\b(ocean|sea|beach|harbou?r|lake|island|coast|waves?|boats?|ships?|river|lighthouse)\b/,
    {
      sky: ['#2b7fc6', '#86c7ec', '#eaf7fb'],
      light: '#fffdf0',
      far: '#6fa9c9',
      near: '#0b3550',
      accents: ['#ff6b6b', '#ffd166', '#ffffff'],
    },
  ],
  [
    /\b(meadow|fields?|hills?|spring|flowers?|garden|farm|village|mountains?|summer|sky|day|city|town|street|house|castle)\b/,
    {
      sky: ['#3f8fd6', '#9fd3f4', '#f3f8e6'],
      light: '#fffbe0',
      far: '#8fb9a8',
      near: '#1f4a33',
      accents: ['#ef476f', '#ffd166', '#ffffff'],
    },
  ],
];

const namedColours: Record<string, string> = {
  red: '#e63946',
  orange: '#f4802a',
  yellow: '#ffd23f',
  gold: '#e8b923',
  golden: '#e8b923',
  green: '#2a9d5c',
  teal: '#1f9e9e',
  turquoise: '#2ec4b6',
  blue: '#2f6fde',
  indigo: '#4338ca',
  purple: '#8e44ad',
  violet: '#8f5bd8',
  pink: '#ff6fa8',
  magenta: '#d6249f',
  brown: '#8a5a34',
  black: '#1b1b22',
  white: '#f7f7f2',
  grey: '#8a94a0',
  gray: '#8a94a0',
  silver: '#c0c7d0',
  cyan: '#22c3e6',
};

/** The palette that a text asks for by its English words; where none is known, a harmony drawn from `random`. */
export function paletteFor(text: string, random: Random): Palette {
  const lower = text.toLowerCase();
  const found = moods.find(([words]) => words.test(lower))?.[1];
  const colours = coloursIn(lower);
  if (found) return colours.length > 0 ? { ...found, accents: [...colours, ...found.accents] } : found;
  return harmony(random, colours);
}

/** The colours that a text names, in their order, as #rrggbb. */
export function coloursIn(text: string): string[] {
  const words = text.toLowerCase().match(/[a-z]+/g) ?? [];
  return words.flatMap((word) => namedColours[word] ?? []);
}

/** From `a` (0) to `b` (1). */
export function mix(a: string, b: string, share: number): string {
  const [from, to] = [channels(a), channels(b)];
  return `#${from.map((value, index) => hex(value + (to[index]! - value) * share)).join('')}`;
}

/** A colour with an opacity of 0 to 1, for the canvas. */
export function fade(colour: string, opacity: number): string {
  return `rgba(${channels(colour).join(',')},${opacity})`;
}

function harmony(random: Random, colours: string[]): Palette {
  const hue = random() * 360;
  const step = between(random, 25, 55) * (random() < 0.5 ? -1 : 1);
  const base = colours[0];
  return {
    sky: [
      base ? mix(base, '#0b0b20', 0.65) : hsl(hue, 62, 20),
      base ?? hsl(hue + step, 62, 48),
      base ? mix(base, '#fff3dc', 0.7) : hsl(hue + 2 * step, 85, 80),
    ],
    light: hsl(hue + 2 * step, 90, 93),
    far: hsl(hue + step, 40, 52),
    near: hsl(hue, 55, 11),
    accents: [...colours.slice(1), hsl(hue + 180, 80, 62), hsl(hue + 150, 78, 66), hsl(hue + 2 * step, 88, 70)],
  };
}

function hsl(hue: number, saturation: number, lightness: number): string {
  const [h, s, l] = [((hue % 360) + 360) % 360, saturation / 100, lightness / 100];
  const channel = (offset: number) => {
    const k = (offset + h / 30) % 12;
    return hex(255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}

function channels(colour: string): [number, number, number] {
  const value = Number.parseInt(colour.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

function hex(value: number): string {
  return Math.round(Math.min(255, Math.max(0, value)))
    .toString(16)
    .padStart(2, '0');
}
