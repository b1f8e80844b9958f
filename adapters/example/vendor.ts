// The made-up vendor. Delete this file when yours is a real one: `context.fetch` then takes its place.
import { crc32, deflateSync } from 'node:zlib';
import { type AdapterContext, type AdapterFetch, type FetchAnswer, HttpFailure } from 'atelier/adapter';
import type { ExampleRequest, Job } from './image.ts';

/** Its address. No such host exists: the vendor answers inside this process. */
export const vendorUrl = 'https://vendor.example';

const waitsMs = 500;
const worksMs = 1_500;
const stopped = new Set<string>();

/**
 * What `context.fetch` would be if the vendor were on the network: the same answers, and an HttpFailure for a status of 400 or more. It keeps nothing: the id of
 * a job holds the job, so that every process knows it.
 */
export function inProcessVendor({ now }: Pick<AdapterContext, 'now'>): AdapterFetch {
  return async (url, { method, json } = {}) => {
    const id = decodeURIComponent(new URL(url).pathname.split('/')[3] ?? '');
    if (json !== undefined) return respond(url, accept(url, json as ExampleRequest, now().getTime()));
    const job = read(url, id, now().getTime());
    if (method !== 'DELETE') return respond(url, job);
    if (job.status === 'done') throw refusal(url, 409, 'ended');
    stopped.add(id);
    return respond(url, { id, status: 'stopped' });
  };
}

function accept(url: string, request: ExampleRequest, at: number): Job {
  if (/\bforbidden\b/i.test(request.prompt)) throw refusal(url, 422, 'prompt_refused');
  const id = Buffer.from(JSON.stringify({ ...request, prompt: request.prompt.slice(0, 200), at })).toString(
    'base64url',
  );
  return { id, status: 'waiting', position: 1 };
}

function read(url: string, id: string, now: number): Job {
  const request = parse(id);
  if (!request) throw refusal(url, 404, 'no_such_job');
  if (stopped.has(id)) return { id, status: 'stopped' };
  const passedMs = now - request.at;
  if (passedMs < waitsMs) return { id, status: 'waiting', position: 1 };
  if (passedMs < waitsMs + worksMs) return { id, status: 'working', progress: (passedMs - waitsMs) / worksMs };
  const seed = request.seed ?? 0;
  const images = Array.from({ length: request.count }, (_, index) => ({
    base64: plainPng(request, seed + index).toString('base64'),
  }));
  return { id, status: 'done', images, seed };
}

function parse(id: string): (ExampleRequest & { at: number }) | undefined {
  try {
    return JSON.parse(Buffer.from(id, 'base64url').toString('utf8'));
  } catch {
    return undefined;
  }
}

function respond(url: string, job: Job): FetchAnswer {
  const text = JSON.stringify(job);
  const bytes = async () => Buffer.from(text);
  const body = (async function* () {
    yield await bytes();
  })();
  const headers = new Headers({ 'content-type': 'application/json' });
  const events = () => {
    throw new Error('the vendor has no event streams');
  };
  return { status: 200, headers, url, body, bytes, events, text: async () => text, json: async () => JSON.parse(text) };
}

function refusal(url: string, status: number, code: string): HttpFailure {
  const body = JSON.stringify({ error: { code, message: `refused: ${code}` } });
  return new HttpFailure(url, { status, headers: new Headers(), body });
}

/** One colour that prompt and seed choose, and some grain in it. https://www.w3.org/TR/png-3/ */
function plainPng({ prompt, width, height, grain }: ExampleRequest, seed: number): Buffer {
  let state = crc32(`${seed} ${prompt}`);
  const colour = [state & 255, (state >> 8) & 255, (state >> 16) & 255];
  const rows = Buffer.alloc(height * (1 + width * 3));
  for (let y = 0, at = 0; y < height; y++) {
    rows[at++] = 0;
    for (let x = 0; x < width; x++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const light = 1 - grain * 0.3 * (state / 2 ** 32);
      for (const part of colour) rows[at++] = part * light;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  // Eight bits a channel, red, green and blue.
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  check.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, check]);
}
