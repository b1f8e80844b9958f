import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import send from 'send';
import { type SignedFacts, verifyUrl } from './sign.ts';

/** What the API server answers below /files/ when assets are kept in a directory. */
export interface FilesOptions {
  root: string;
  secret: string;
  /** Origins of browsers that may call; `*` = all. */
  corsOrigins: string[];
  /** Stores an upload, whole or not at all. */
  store(key: string, source: () => Readable): Promise<void>;
}

/**
 * GET and HEAD (ranges, conditions) of a signed URL, PUT of a signed upload, and the browser's OPTIONS before them.
 * Rejects when an upload cannot be stored; nothing is answered then.
 */
export async function answerFiles(
  request: IncomingMessage,
  response: ServerResponse,
  options: FilesOptions,
): Promise<void> {
  allowOrigin(request, response, options.corsOrigins);
  const method = request.method ?? '';
  if (method === 'OPTIONS') return void response.writeHead(204).end();
  if (!['GET', 'HEAD', 'PUT'].includes(method))
    return say(response, 405, 'Only GET, HEAD and PUT.', { allow: 'GET, HEAD, PUT, OPTIONS' });
  const url = new URL(request.url ?? '/', 'http://localhost');
  const facts = verifyUrl(url, method === 'PUT' ? 'PUT' : 'GET', options.secret);
  if ('refusal' in facts) return say(response, 403, facts.refusal);
  return method === 'PUT' ? receive(request, response, facts, options) : serve(request, response, facts, options.root);
}

function serve(request: IncomingMessage, response: ServerResponse, facts: SignedFacts, root: string): Promise<void> {
  response.setHeader('Content-Type', facts.type);
  if (facts.disposition) response.setHeader('Content-Disposition', facts.disposition);
  response.setHeader('Cache-Control', `private, max-age=${Math.max(0, facts.expires - Math.floor(Date.now() / 1000))}`);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  // Uploads are the client's: an SVG or HTML file may show itself, but run nothing and reach nothing.
  response.setHeader(
    'Content-Security-Policy',
    "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; sandbox",
  );
  response.setHeader('Cross-Origin-Resource-Policy', 'cross-origin');
  return new Promise((resolve) => {
    response.on('close', resolve);
    send(request, facts.key, { root, cacheControl: false, dotfiles: 'deny', index: false })
      .on('error', (error: { status?: number }) => {
        for (const name of ['Content-Disposition', 'Cache-Control', 'Content-Type']) response.removeHeader(name);
        if (error.status === 416) return say(response, 416, 'The file has no such range.');
        say(
          response,
          error.status === 404 ? 404 : 500,
          error.status === 404 ? 'No such file.' : 'The file cannot be read.',
        );
      })
      .on('directory', () => say(response, 404, 'No such file.'))
      .pipe(response);
  });
}

async function receive(
  request: IncomingMessage,
  response: ServerResponse,
  facts: SignedFacts,
  options: FilesOptions,
): Promise<void> {
  const size = facts.size ?? 0;
  const type = request.headers['content-type'] ?? '';
  const declared = request.headers['content-length'];
  if (type.toLowerCase() !== facts.type.toLowerCase())
    return say(response, 403, `Send the header Content-Type: ${facts.type}.`, { connection: 'close' });
  if (declared !== undefined && Number(declared) !== size)
    return say(response, 403, `Send exactly ${size} bytes, not ${declared}.`, { connection: 'close' });
  try {
    await options.store(facts.key, () => Readable.from(exactly(request, size)));
    response.writeHead(200).end();
  } catch (error) {
    if (error instanceof WrongSize) return say(response, 403, `Send exactly ${size} bytes.`, { connection: 'close' });
    const clientLeft = request.destroyed && !request.complete;
    if (!clientLeft) throw error;
  }
}

async function* exactly(request: IncomingMessage, size: number): AsyncIterable<Buffer> {
  let seen = 0;
  // Destroying the request would take the connection with it, and the answer.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    seen += chunk.length;
    if (seen > size) throw new WrongSize();
    yield chunk;
  }
  if (seen < size) throw new WrongSize();
}

class WrongSize extends Error {}

function allowOrigin(request: IncomingMessage, response: ServerResponse, origins: string[]): void {
  response.setHeader('Vary', 'Origin');
  const { origin } = request.headers;
  if (!origin || !(origins.includes('*') || origins.includes(origin))) return;
  response.setHeader('Access-Control-Allow-Origin', origin);
  response.setHeader('Access-Control-Allow-Methods', 'GET, HEAD, PUT');
  response.setHeader('Access-Control-Allow-Headers', 'Content-Type, Range, If-None-Match, If-Range');
  response.setHeader(
    'Access-Control-Expose-Headers',
    'Content-Length, Content-Range, Accept-Ranges, Content-Disposition, ETag',
  );
  response.setHeader('Access-Control-Max-Age', '86400');
}

function say(response: ServerResponse, status: number, message: string, headers: Record<string, string> = {}): void {
  response
    .writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store', ...headers })
    .end(`${message}\n`);
}
