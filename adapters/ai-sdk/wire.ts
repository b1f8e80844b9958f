import {
  type AdapterContext,
  AdapterFailure,
  type FetchOptions,
  isAdapterFailure,
  isHttpFailure,
  NetworkFailure,
} from 'atelier/adapter';

/** The way to the network that a package is given, and what became of it. */
export interface Wire {
  /** `fetch` of the web, over the guarded one. */
  fetch: typeof globalThis.fetch;
  /** What an error means that the package threw: the failure beneath it, which it may have wrapped. */
  meaning(error: unknown): unknown;
}

/** Pictures come inside JSON, several at once. */
const maxBytes = 128 * 1024 * 1024;

/**
 * @param paid at most one request may be other than a GET: what a package repeats or adds is refused unsent.
 */
export function openWire(context: AdapterContext<any>, { paid }: { paid: boolean }): Wire {
  let posts = 0;
  let bought = false;
  let failure: unknown;

  async function fetch(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
    const options = await optionsOf(input, init);
    const isPost = options.method !== 'GET' && options.method !== 'HEAD';
    if (isPost && paid && posts > 0) throw failure ?? secondCall;
    if (isPost) posts++;
    try {
      const answer = await context.fetch(urlOf(input), options);
      bought ||= isPost;
      const headers = new Headers(answer.headers);
      // It holds for what was sent; what comes here is decoded.
      for (const name of ['content-encoding', 'content-length']) headers.delete(name);
      return new Response(isEmpty(answer.status) ? null : streamOf(answer.body), { status: answer.status, headers });
    } catch (error) {
      failure = error;
      if (!isHttpFailure(error)) throw error;
      return new Response(isEmpty(error.status) ? null : error.body, { status: error.status, headers: error.headers });
    }
  }

  return {
    fetch: fetch as typeof globalThis.fetch,
    meaning(error) {
      if (context.signal.aborted) return context.signal.reason;
      // A look bought nothing and can be repeated, whatever the package makes of the answer.
      if (!paid) return failure ?? new NetworkFailure(textOf(error), { sent: 'maybe', cause: error });
      if (bought) {
        const message = `the answer was paid for, and cannot be used: ${textOf(failure ?? error)}`;
        return new NetworkFailure(message, { sent: 'maybe', cause: error });
      }
      if (failure === undefined || isAdapterFailure(failure)) return refusalOf(failure ?? error);
      if (posts > 0) return failure;
      return new NetworkFailure(`before the paid call: ${textOf(failure)}`, { sent: 'no', cause: failure });
    },
  };
}

const secondCall = new AdapterFailure({
  class: 'permanent',
  code: 'SECOND_CALL',
  message: 'the package makes more than one call that may cost money; such a model cannot be used',
  billed: 'unknown',
});

function urlOf(input: string | URL | Request): string {
  return input instanceof Request ? input.url : String(input);
}

async function optionsOf(input: string | URL | Request, init: RequestInit): Promise<FetchOptions> {
  const request = input instanceof Request ? input : undefined;
  const { body } = init;
  const headers = new Headers(init.headers ?? request?.headers);
  const form = body instanceof FormData;
  if (form) headers.delete('content-type');
  const isPlain = body == null || form || typeof body === 'string' || body instanceof Uint8Array;
  const bytes = isPlain ? undefined : new Uint8Array(await new Response(body).arrayBuffer());
  const sent = request?.body && body == null ? new Uint8Array(await request.arrayBuffer()) : undefined;
  return {
    method: (init.method ?? request?.method ?? 'GET').toUpperCase() as FetchOptions['method'],
    headers: Object.fromEntries(headers),
    body: bytes ?? sent ?? (body as string | undefined) ?? undefined,
    signal: init.signal ?? undefined,
    maxBytes,
  };
}

const isEmpty = (status: number): boolean => status === 204 || status === 205 || status === 304;

function streamOf(body: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = body[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await iterator.return?.();
    },
  });
}

/** What the packages throw before anything is sent, by the names that they give their errors. */
const refusals: Record<string, { class: 'authentication' | 'invalid_input' | 'permanent'; code: string }> = {
  AI_LoadAPIKeyError: { class: 'authentication', code: 'KEY_MISSING' },
  AI_LoadSettingError: { class: 'authentication', code: 'SETTING_MISSING' },
  AI_NoSuchModelError: { class: 'permanent', code: 'MODEL_NOT_FOUND' },
  AI_InvalidArgumentError: { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT' },
  AI_InvalidPromptError: { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT' },
  AI_TypeValidationError: { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT' },
  AI_UnsupportedFunctionalityError: { class: 'invalid_input', code: 'PROVIDER_REFUSED_INPUT' },
};

function refusalOf(error: unknown): unknown {
  const known = refusals[(error as Error | undefined)?.name ?? ''];
  return known ? new AdapterFailure({ ...known, message: textOf(error), billed: 'nothing' }, { cause: error }) : error;
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
