import { createCanvas, ImageData } from '@napi-rs/canvas';
import { Resvg } from '@resvg/resvg-js';
import { DOMParser, type Document, type Element, XMLSerializer } from '@xmldom/xmldom';
import type { AnimationRequest } from '../animation.ts';
import type { Film } from './film.ts';
import { fontFamily, fontFiles } from './font.ts';
import { InputRefusal } from './refusal.ts';
import { readAnimations } from './smil.ts';
import type { Work } from './work.ts';

/**
 * Frames of an SVG: where it is animated by SMIL, the drawing at each moment; else the camera moves over it as
 * `description` says (zoom, rotate, pan, pulse), or gently.
 * @throws InputRefusal when it is no SVG that can be drawn.
 */
export function svgFrames(request: AnimationRequest, work: Work): Film['draw'] {
  const document = parse(named(request.svg!));
  removeReferences(document, work);
  fitTo(document.documentElement!, request.width, request.height);
  const animations = readAnimations(document, work);
  if (animations.length === 0) return moveOver(document, request);
  const draw = rasteriser(document, request.width, request.background);
  return (_index, seconds) => {
    for (const apply of animations) apply(seconds);
    return draw();
  };
}

/** Browsers draw an SVG inside a page without the name of its format; XML needs it. */
function named(svg: string): string {
  return /<svg\b[^>]*\sxmlns=/.test(svg) ? svg : svg.replace(/<svg\b/, '<svg xmlns="http://www.w3.org/2000/svg"');
}

function parse(svg: string): Document {
  let problem: string | undefined;
  try {
    const document = new DOMParser({
      onError(level, message) {
        if (level !== 'warning') problem ??= message;
      },
    }).parseFromString(svg, 'image/svg+xml');
    if (problem === undefined && document.documentElement?.localName === 'svg') return document;
  } catch (error) {
    problem ??= (error as Error).message;
  }
  throw new InputRefusal(
    ['svg'],
    problem ? `is not well-formed XML: ${problem.split('\n')[0]}` : 'its outermost element must be <svg>',
  );
}

/** Only pictures inside the document and its own elements: the renderer would open files of this machine. */
function removeReferences(document: Document, work: Work): void {
  let removed = 0;
  for (const element of Array.from(document.getElementsByTagName('*'))) {
    for (const attribute of Array.from(element.attributes)) {
      if (attribute.localName !== 'href' && attribute.localName !== 'src') continue;
      if (element.localName === 'a' || /^\s*(#|data:image\/(png|jpeg|gif|webp)[;,])/i.test(attribute.value)) continue;
      element.removeAttributeNode(attribute);
      removed += 1;
    }
    if (element.localName === 'script' || element.localName === 'foreignObject')
      element.parentNode?.removeChild(element);
  }
  if (removed > 0) work.log('WARN', `${removed} reference(s) to other files were removed from the SVG`);
}

/** Makes the drawing exactly as large as the frame; its viewBox keeps its shape inside. */
function fitTo(root: Element, width: number, height: number): void {
  const length = (name: string) => Number.parseFloat(root.getAttribute(name) ?? '');
  if (!root.getAttribute('viewBox')) {
    const [across, down] = [length('width'), length('height')];
    root.setAttribute('viewBox', `0 0 ${across > 0 ? across : width} ${down > 0 ? down : height}`);
  }
  root.setAttribute('width', String(width));
  root.setAttribute('height', String(height));
  root.removeAttribute('style');
}

/** Draws the document as it stands; opaque RGBA. */
function rasteriser(document: Document, width: number, background: string): () => Buffer {
  const serializer = new XMLSerializer();
  // Reading the font files costs more than most drawings.
  const font = {
    loadSystemFonts: false,
    fontFiles: document.getElementsByTagName('text').length > 0 ? fontFiles : [],
    defaultFontFamily: fontFamily,
    sansSerifFamily: fontFamily,
    serifFamily: fontFamily,
    monospaceFamily: fontFamily,
  };
  return () => {
    // The element alone: a document type with entities stays behind.
    const source = serializer.serializeToString(document.documentElement!);
    try {
      return Buffer.from(
        new Resvg(source, { font, background, fitTo: { mode: 'width', value: width } }).render().pixels,
      );
    } catch (error) {
      throw new InputRefusal(['svg'], `cannot be drawn: ${error instanceof Error ? error.message : error}`);
    }
  };
}

type Move = (share: number) => { scale: number; x: number; y: number; turn: number };

const moves: [words: RegExp, move: Move][] = [
  [/\b(still|static|no motion)\b/i, () => ({ scale: 1, x: 0, y: 0, turn: 0 })],
  [/\b(rotat\w*|spin\w*|turn\w*)\b/i, (share) => ({ scale: 1, x: 0, y: 0, turn: share * 2 * Math.PI })],
  [/\bzoom\w* out\b|\bshrink\w*\b/i, (share) => ({ scale: 1.6 - 0.6 * share, x: 0, y: 0, turn: 0 })],
  [/\bzoom\w*\b|\bgrow\w*\b/i, (share) => ({ scale: 1 + 0.6 * share, x: 0, y: 0, turn: 0 })],
  [/\b(pan|slid\w*|move\w*|scroll\w*)\b/i, (share) => ({ scale: 1.3, x: 0.12 - 0.24 * share, y: 0, turn: 0 })],
  [
    /\b(puls\w*|beat\w*|breath\w*|bounc\w*)\b/i,
    (share) => ({ scale: 1 + 0.08 * Math.sin(share * 8 * Math.PI), x: 0, y: 0, turn: 0 }),
  ],
];
const drift: Move = (share) => ({
  scale: 1.02 + 0.1 * Math.sin(share * Math.PI),
  x: 0.015 * Math.sin(share * 2 * Math.PI),
  y: 0.015 * Math.cos(share * 2 * Math.PI),
  turn: 0.012 * Math.sin(share * 2 * Math.PI),
});

function moveOver(
  document: Document,
  { description, durationSeconds, width, height, background }: AnimationRequest,
): Film['draw'] {
  const move = moves.find(([words]) => words.test(description))?.[1] ?? drift;
  // Drawn once at a larger size, then moved.
  const sharp = Math.min(1.5, 4096 / Math.max(width, height));
  const [across, down] = [Math.max(width, Math.round(width * sharp)), Math.max(height, Math.round(height * sharp))];
  fitTo(document.documentElement!, across, down);
  const pixels = rasteriser(document, across, background)();
  const picture = createCanvas(across, down);
  picture.getContext('2d').putImageData(new ImageData(new Uint8ClampedArray(pixels), across, down), 0, 0);
  const canvas = createCanvas(width, height);
  const context = canvas.getContext('2d');
  return (_index, seconds) => {
    const { scale, x, y, turn } = move(seconds / durationSeconds);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = background;
    context.fillRect(0, 0, width, height);
    context.translate(width * (0.5 + x), height * (0.5 + y));
    context.rotate(turn);
    context.scale(scale, scale);
    context.drawImage(picture, -width / 2, -height / 2, width, height);
    return canvas.data();
  };
}
