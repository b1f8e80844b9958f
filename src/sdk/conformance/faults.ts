import type { RecordedResponse } from './fixture.ts';
import type { Fault, Sent } from './wire.ts';

const html = (status: number): RecordedResponse => ({
  status,
  headers: { 'content-type': 'text/html' },
  text: '<!doctype html><title>Just a moment</title>',
});

/** The words of frameworks and gateways, not of a vendor: they say nothing about the job. */
const serverErrors: [string, Fault][] = [
  ['500 {"detail": …}', { status: 500, json: { detail: 'Internal Server Error' } }],
  ['502 {"message": …}', { status: 502, json: { message: 'Bad Gateway' } }],
  ['503 {"error": {…}}', { status: 503, json: { error: { message: 'Service Unavailable' } } }],
];

/** Nobody can tell whether it was bought. */
export const lostAnswers: [string, Fault][] = [
  ['a reset after it was sent', 'lost'],
  ['a time-out', 'timeout'],
  ['an answer that is cut', 'cut'],
  ['408', html(408)],
  ['500', html(500)],
  ['502', html(502)],
  ['503', html(503)],
  ['504', html(504)],
  ...serverErrors,
];

/** A success in a shape that nobody documents. */
export const oddAnswers: [string, Fault][] = [
  ['an HTML page', html(200)],
  ['{}', { status: 200, json: {} }],
  ['null', { status: 200, json: null }],
  ['[]', { status: 200, json: [] }],
  ['a text', { status: 200, json: 'ok' }],
];

/** A refusal in no vendor's own words. */
export const refusal = (status: number): RecordedResponse => ({
  status,
  json: { detail: 'no', error: { message: 'no' } },
});

/** Statuses that say: not this, and not again. */
export const refusals = [400, 401, 402, 403, 404, 422];

/** What passes by: the same request finds the same answer a moment later. */
export const interruptions: [string, Fault][] = [
  ['no connection', 'unsent'],
  ['a reset', 'lost'],
  ['half of the answer', 'cut'],
  ['an HTML page', html(200)],
  ['502', html(502)],
  ...serverErrors,
  ['429', refusal(429)],
];

/** Whatever changes something at the vendor, unless the recording says that it costs nothing. */
export const mayBuy = ({ method, free }: Pick<Sent, 'method' | 'free'>): boolean =>
  !free && method !== 'GET' && method !== 'HEAD';
