/** How the camera moves over one storyboard picture. Positions and sizes are shares of the picture. */
export interface Camera {
  /** What is in view at the start and at the end: 1 = all of it, 0.8 = closer. */
  view: [start: number, end: number];
  /** Where the middle of the view travels, -1 (left, top) to 1 (right, bottom). */
  x: [start: number, end: number];
  y: [start: number, end: number];
  /** Degrees, clockwise. */
  roll: number;
  /** 0 = on a tripod, 1 = in the hand. */
  shake: number;
}

/** A light laid over the picture. */
export interface Light {
  colour: string;
  /** A canvas blend mode. */
  blend: 'soft-light' | 'multiply' | 'screen' | 'saturation' | 'overlay';
  opacity: number;
}

const cameraWords: [words: RegExp, camera: Partial<Camera>][] = [
  [/\b(static|still|locked|tripod|fixed)\b/, { view: [0.94, 0.94], x: [0, 0], y: [0, 0] }],
  [/\b(zoom|dolly|push|move|track)(s|ing)? in\b|\bclose[- ]?up\b/, { view: [1, 0.72] }],
  [/\b(zoom|dolly|pull|move|track)(s|ing)? (out|back)\b|\bwide\b|\bestablishing\b/, { view: [0.72, 1] }],
  [/\b(pan|track|truck|move)(s|ning|ing)?( to the)? left\b/, { view: [0.8, 0.8], x: [1, -1], y: [0, 0] }],
  [/\b(pan|track|truck|move)(s|ning|ing)?( to the)? right\b/, { view: [0.8, 0.8], x: [-1, 1], y: [0, 0] }],
  [/\b(tilt|crane|pedestal)(s|ing)? up\b|\blow[- ]angle\b|\bworm/, { view: [0.8, 0.8], x: [0, 0], y: [1, -1] }],
  [
    /\b(tilt|crane|pedestal)(s|ing)? down\b|\bhigh[- ]angle\b|\baerial\b|\bbird|\bdrone\b|\boverhead\b/,
    { view: [0.86, 0.8], x: [0, 0], y: [-1, 1] },
  ],
  [/\bdutch\b|\btilted\b|\bcanted\b/, { roll: 5 }],
  [/\bhand[- ]?held\b|\bshak/, { shake: 1 }],
];

const lightWords: [words: RegExp, light: Light][] = [
  [
    /\b(golden|warm|sunset|sunrise|candle|firelight|tungsten)\b/,
    { colour: '#ff9a3c', blend: 'soft-light', opacity: 0.55 },
  ],
  [/\b(blue|cold|cool|moon\w*|night|overcast)\b/, { colour: '#2a5fd0', blend: 'soft-light', opacity: 0.6 }],
  [/\b(noir|black and white|monochrome|b&w)\b/, { colour: '#808080', blend: 'saturation', opacity: 1 }],
  [
    /\b(low[- ]key|dark|dim|moody|dramatic|shadow\w*|chiaroscuro)\b/,
    { colour: '#3a3a48', blend: 'multiply', opacity: 0.55 },
  ],
  [/\b(high[- ]key|bright|daylight|studio|noon|sunny)\b/, { colour: '#5a5a52', blend: 'screen', opacity: 0.45 }],
  [/\b(neon|cyberpunk|magenta|purple|pink)\b/, { colour: '#ff2bd6', blend: 'overlay', opacity: 0.3 }],
  [/\b(fog|foggy|mist|misty|haze|hazy|soft|diffuse\w*)\b/, { colour: '#8a939c', blend: 'screen', opacity: 0.35 }],
  [/\b(green|matrix|fluorescent)\b/, { colour: '#3fbf6a', blend: 'soft-light', opacity: 0.5 }],
];

/** What the words of `cameraAngle` ask for; null where none is known. PURE. */
export function cameraFrom(text: string): Partial<Camera> | null {
  const found = cameraWords.filter(([words]) => words.test(text.toLowerCase()));
  return found.length > 0 ? Object.assign({}, ...found.map(([, camera]) => camera)) : null;
}

/** What the words of `lighting` ask for; empty where none is known. PURE. */
export function lightsFrom(text: string): Light[] {
  return lightWords.filter(([words]) => words.test(text.toLowerCase())).map(([, light]) => light);
}
