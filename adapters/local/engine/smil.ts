import { createCanvas } from '@napi-rs/canvas';
import type { Document, Element } from '@xmldom/xmldom';
import type { Work } from './work.ts';

/** Sets what one animation animates to its value at `seconds` from the start of the document. */
export type Animation = (seconds: number) => void;

/** These may also be set by a style, which wins over an attribute: so they are written as style. */
const styled = new Set(
  'fill fill-opacity stroke stroke-width stroke-opacity stroke-dasharray stroke-dashoffset opacity stop-color stop-opacity visibility display font-size letter-spacing'.split(
    ' ',
  ),
);

/**
 * The SMIL animations of an SVG, taken out of it: <animate>, <animateTransform>, <animateColor> and <set> with from, to,
 * by, values, keyTimes, keySplines, calcMode, begin (clock values), dur, repeatCount, repeatDur, fill and additive.
 * What begins at an event, and <animateMotion>, is left out with a line in the log.
 */
export function readAnimations(document: Document, work: Work): Animation[] {
  const animations: Animation[] = [];
  for (const element of Array.from(document.getElementsByTagName('*'))) {
    if (!/^(animate|animateTransform|animateColor|set|animateMotion)$/.test(element.localName ?? '')) continue;
    const animation = element.localName === 'animateMotion' ? null : readAnimation(document, element);
    if (animation) animations.push(animation);
    else work.log('WARN', `one <${element.localName}> in the SVG is not supported and was left out`);
  }
  for (const element of Array.from(document.getElementsByTagName('*'))) {
    if (/^(animate\w*|set)$/.test(element.localName ?? '')) element.parentNode?.removeChild(element);
  }
  return animations;
}

function readAnimation(document: Document, element: Element): Animation | null {
  const get = (name: string) => element.getAttribute(name) || null;
  const href = get('href') ?? element.getAttributeNS('http://www.w3.org/1999/xlink', 'href');
  const target = href ? document.getElementById(href.replace(/^\s*#/, '')) : (element.parentNode as Element | null);
  const transform = element.localName === 'animateTransform' ? (get('type') ?? 'translate') : null;
  const attribute = transform ? 'transform' : get('attributeName');
  const begin = seconds(get('begin') ?? '0');
  if (!target?.setAttribute || !attribute || begin === null) return null;
  const before = styled.has(attribute) ? styleOf(target, attribute) : target.getAttribute(attribute);
  const values = valuesOf(get, before, transform);
  if (values.length === 0) return null;
  const discrete = element.localName === 'set' || get('calcMode') === 'discrete';
  const once = seconds(get('dur') ?? '') ?? Number.POSITIVE_INFINITY;
  const repeats = get('repeatCount');
  const until = seconds(get('repeatDur') ?? '') ?? Number.POSITIVE_INFINITY;
  const active = Math.min(
    until,
    once * (repeats === 'indefinite' ? Number.POSITIVE_INFINITY : Number(repeats ?? 1) || 1),
  );
  const keyTimes = list(get('keyTimes'))?.map(Number);
  const splines =
    get('calcMode') === 'spline'
      ? list(get('keySplines'))?.map((spline) => spline.split(/[\s,]+/).map(Number))
      : undefined;
  const base = transform && get('additive') === 'sum' ? `${before ?? ''} ` : '';

  const write = (value: string | null) => {
    if (styled.has(attribute)) setStyle(target, attribute, value);
    else if (value === null) target.removeAttribute(attribute);
    else target.setAttribute(attribute, value);
  };
  return (now) => {
    const since = now - begin;
    const ended = since >= active;
    if (since < 0 || (ended && get('fill') !== 'freeze')) return write(before);
    const whole = ended ? active : since;
    const share = once === Number.POSITIVE_INFINITY ? 0 : ended && whole % once === 0 ? 1 : (whole % once) / once;
    const value = valueAt(values, share, discrete, keyTimes, splines);
    write(transform ? `${base}${transform}(${value})` : value);
  };
}

function valuesOf(get: (name: string) => string | null, before: string | null, transform: string | null): string[] {
  const values = list(get('values'));
  if (values) return values;
  const zero = transform === 'scale' ? '1' : '0';
  const from = get('from') ?? (transform ? zero : (before ?? '0'));
  const by = get('by');
  if (get('to') !== null) return get('from') === null && get('dur') === null ? [get('to')!] : [from, get('to')!];
  return by === null ? [] : [from, blend(from, by, (start, step) => start + step)];
}

function valueAt(
  values: string[],
  share: number,
  discrete: boolean,
  keyTimes: number[] | undefined,
  splines: number[][] | undefined,
): string {
  const times =
    keyTimes?.length === values.length
      ? keyTimes
      : values.map((_, index) => index / (discrete ? values.length : Math.max(1, values.length - 1)));
  let index = times.findLastIndex((time) => time <= share + 1e-9);
  index = Math.max(0, index);
  if (discrete || index >= values.length - 1) return values[index]!;
  const linear = Math.min(1, (share - times[index]!) / Math.max(1e-9, times[index + 1]! - times[index]!));
  const spline = splines?.[index];
  const part = spline?.length === 4 ? ease(spline as [number, number, number, number], linear) : linear;
  return blend(values[index]!, values[index + 1]!, (start, end) => start + (end - start) * part);
}

/** Number by number, where both have as many; colours channel by channel; anything else jumps halfway. */
function blend(from: string, to: string, between: (start: number, end: number) => number): string {
  const [start, end] = [colourChannels(from), colourChannels(to)];
  if (start && end) return `rgb(${start.map((value, index) => Math.round(between(value, end[index]!))).join(',')})`;
  const number = /-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?/gi;
  const targets = to.match(number) ?? [];
  const sources = from.match(number) ?? [];
  if (targets.length !== sources.length || targets.length === 0) return between(0, 1) < 0.5 ? from : to;
  let at = 0;
  return to.replace(number, () => String(Number(between(Number(sources[at]), Number(targets[at++])).toFixed(4))));
}

const probe = createCanvas(1, 1).getContext('2d');

function colourChannels(text: string): number[] | null {
  if (!/^\s*(#[0-9a-f]{3,8}|rgba?\(.*\)|hsla?\(.*\)|[a-z]{3,})\s*$/i.test(text)) return null;
  // The canvas knows all names of colours; what it does not know leaves the style as it was.
  probe.fillStyle = '#010203';
  probe.fillStyle = text.trim();
  const shown = String(probe.fillStyle);
  if (shown === '#010203' || !/^#[0-9a-f]{6}$/i.test(shown)) return null;
  return [1, 3, 5].map((place) => Number.parseInt(shown.slice(place, place + 2), 16));
}

/** A cubic Bézier from (0,0) to (1,1): y at x, by halving. */
function ease([x1, y1, x2, y2]: [number, number, number, number], x: number): number {
  const curve = (a: number, b: number, t: number) => 3 * a * t * (1 - t) ** 2 + 3 * b * t * t * (1 - t) + t ** 3;
  let [low, high] = [0, 1];
  for (let step = 0; step < 20; step++) {
    const middle = (low + high) / 2;
    if (curve(x1, x2, middle) < x) low = middle;
    else high = middle;
  }
  return curve(y1, y2, low);
}

function list(text: string | null): string[] | undefined {
  const parts = text?.split(';').map((part) => part.trim());
  return parts?.filter((part, index) => part !== '' || index < parts.length - 1);
}

/** A clock value: `2s`, `500ms`, `1.5min`, `0:02`, `2`. Null for an event or nothing. */
function seconds(text: string): number | null {
  const first = text.split(';')[0]!.trim();
  const clock = /^(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)$/.exec(first);
  if (clock) return Number(clock[1] ?? 0) * 3600 + Number(clock[2]) * 60 + Number(clock[3]);
  const plain = /^([+-]?(?:\d+\.?\d*|\.\d+))(h|min|s|ms)?$/.exec(first);
  return plain ? Number(plain[1]) * { h: 3600, min: 60, s: 1, ms: 0.001 }[plain[2] ?? 's']! : null;
}

function styleOf(element: Element, property: string): string | null {
  const found = declarations(element).find(([name]) => name === property);
  return found?.[1] ?? (element.getAttribute(property) || null);
}

function setStyle(element: Element, property: string, value: string | null): void {
  const kept = declarations(element).filter(([name]) => name !== property);
  if (value !== null) kept.push([property, value]);
  if (kept.length === 0) element.removeAttribute('style');
  else element.setAttribute('style', kept.map(([name, content]) => `${name}:${content}`).join(';'));
}

function declarations(element: Element): [name: string, value: string][] {
  const parts = (element.getAttribute('style') ?? '').split(';').filter((part) => part.includes(':'));
  return parts.map((part) => [part.slice(0, part.indexOf(':')).trim(), part.slice(part.indexOf(':') + 1).trim()]);
}
