import type { SKRSContext2D } from '@napi-rs/canvas';
import { fontFamily } from './font.ts';

/** Writes the text over the lower edge, on at most two lines. Pictures below 160 × 120 are too small for it and stay bare. */
export function drawCaption(context: SKRSContext2D, text: string, width: number, height: number): void {
  if (width < 160 || height < 120) return;
  const size = Math.round(Math.min(44, Math.max(11, Math.min(width, height) * 0.036)));
  const margin = size * 1.4;
  context.font = `bold ${size}px "${fontFamily}"`;
  const lines = wrap(context, text.replace(/\s+/g, ' ').trim(), width - 2 * margin);
  const tall = lines.length * size * 1.35 + margin * 1.7;
  const shade = context.createLinearGradient(0, height - tall * 1.4, 0, height);
  shade.addColorStop(0, 'rgba(0,0,0,0)');
  shade.addColorStop(1, 'rgba(0,0,0,0.72)');
  context.fillStyle = shade;
  context.fillRect(0, height - tall * 1.4, width, tall * 1.4);
  context.textBaseline = 'alphabetic';
  lines.forEach((line, index) => {
    context.fillStyle = 'rgba(255,255,255,0.94)';
    context.fillText(line, margin, height - margin - (lines.length - 1 - index) * size * 1.35);
  });
}

function wrap(context: SKRSContext2D, text: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (context.measureText(longer).width <= width || lines.at(-1) === '') lines[lines.length - 1] = longer;
    else lines.push(word);
    if (lines.length > 2) break;
  }
  const shown = lines.slice(0, 2);
  const cut = lines.length > 2;
  return shown.map((line, index) => clip(context, line, width, cut && index === 1));
}

function clip(context: SKRSContext2D, line: string, width: number, cut: boolean): string {
  if (!cut && context.measureText(line).width <= width) return line;
  const letters = [...line];
  while (letters.length > 1 && context.measureText(`${letters.join('')}…`).width > width) letters.pop();
  return `${letters.join('').trimEnd()}…`;
}
