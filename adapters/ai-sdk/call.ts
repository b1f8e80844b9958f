import {
  type AdapterContext,
  AdapterFailure,
  type Handle,
  isAdapterFailure,
  NetworkFailure,
  type Observation,
  type Started,
} from 'atelier/adapter';
import type { Config } from './config.ts';
import { openModel } from './provider.ts';
import type { SdkAnswer, SdkRequest, Told } from './transform.ts';
import { openWire, type Wire } from './wire.ts';

type Context = AdapterContext<Config>;

/** Where a video is found again. */
export interface VideoHandle extends Handle {
  v: 1;
  /** The package's own JSON. */
  operation: unknown;
  told: Told;
}

/** One call of a model: the answer, the stream of a text, or the handle of a video. */
export async function start(request: SdkRequest, context: Context): Promise<Started<SdkAnswer>> {
  const wire = openWire(context, { paid: true });
  if (request.taskType === 'generate_text') return { observations: streamText(request, context, wire) };
  try {
    if (request.taskType === 'generate_image') return { answer: await makeImages(request, context, wire) };
    if (request.taskType === 'generate_character_voice') return { answer: await speak(request, context, wire) };
    return { handle: await startVideo(request, context, wire), pollAfterMs: 2_000 };
  } catch (error) {
    throw wire.meaning(error);
  }
}

/** One look at a video. */
export async function lookAtVideo(handle: VideoHandle, context: Context): Promise<Observation<SdkAnswer>> {
  const wire = openWire(context, { paid: false });
  const model = await openModel('generate_video', context.config, context.model, context.secrets, wire.fetch);
  const status = await Promise.resolve(
    model.doStatus({ operation: handle.operation, abortSignal: context.signal }),
  ).catch((error) => {
    throw wire.meaning(error);
  });
  if (status?.status === 'completed') {
    const files = [status.videos ?? []]
      .flat()
      .flatMap(({ url, data, mediaType: contentType }: any): NonNullable<SdkAnswer['files']> => {
        if (data) return [{ bytes: bytesOf(data), contentType }];
        return typeof url === 'string' ? [{ url, contentType }] : [];
      });
    return { state: 'succeeded', answer: { ...handle.told, files } };
  }
  if (status?.status !== 'error') return { state: 'running' };
  const message = `the provider failed: ${String(status.error)}`;
  return { state: 'failed', failure: { class: 'permanent', code: 'PROVIDER_FAILED', message, billed: 'unknown' } };
}

async function makeImages(request: SdkRequest, context: Context, wire: Wire): Promise<SdkAnswer> {
  const model = await openModel('generate_image', context.config, context.model, context.secrets, wire.fetch);
  const { n } = request.call;
  const limit = model.maxImagesPerCall;
  const most = typeof limit === 'function' ? await limit({ modelId: model.modelId }) : limit;
  // More would be a second purchase.
  if (typeof most === 'number' && n > most) {
    const message = `this model makes ${most} at a time`;
    throw new AdapterFailure({
      class: 'invalid_input',
      code: 'COUNT_TOO_LARGE',
      message: `count: ${message}`,
      issues: [{ path: ['count'], message }],
      billed: 'nothing',
    });
  }
  const files = request.images.map((uri) => fileOf(String(uri)));
  const { images, warnings } = await model.doGenerate({
    ...callOf(request, context, model.provider),
    files: files.length > 0 ? files : undefined,
  });
  const lacks = tell(warnings, context);
  return {
    files: images.map((data: string | Uint8Array) => ({ bytes: bytesOf(data) })),
    ...request.told,
    seed: lacks.has('seed') ? undefined : request.told.seed,
  };
}

async function speak(request: SdkRequest, context: Context, wire: Wire): Promise<SdkAnswer> {
  const model = await openModel('generate_character_voice', context.config, context.model, context.secrets, wire.fetch);
  const { audio, warnings } = await model.doGenerate(callOf(request, context, model.provider));
  tell(warnings, context);
  const bytes = bytesOf(audio);
  return { files: bytes.length > 0 ? [{ bytes }] : [], ...request.told };
}

async function startVideo(request: SdkRequest, context: Context, wire: Wire): Promise<VideoHandle> {
  const model = await openModel('generate_video', context.config, context.model, context.secrets, wire.fetch);
  const [first] = request.images;
  const { operation, warnings } = await model.doStart({
    ...callOf(request, context, model.provider),
    image: first === undefined ? undefined : fileOf(String(first)),
  });
  tell(warnings, context);
  return { v: 1, operation, told: request.told };
}

async function* streamText(request: SdkRequest, context: Context, wire: Wire): AsyncGenerator<Observation<SdkAnswer>> {
  const pieces: string[] = [];
  try {
    const model = await openModel('generate_text', context.config, context.model, context.secrets, wire.fetch);
    const { stream } = await model.doStream(callOf(request, context, model.provider));
    for await (const part of stream as unknown as AsyncIterable<any>) {
      if (part.type === 'stream-start') tell(part.warnings, context);
      else if (part.type === 'text-delta') {
        pieces.push(part.delta);
        yield { state: 'running', text: part.delta };
      } else if (part.type === 'error') throw unreadable.includes(part.error?.name) ? part.error : saidSo(part.error);
      else if (part.type === 'finish') {
        const { finishReason, usage } = part;
        const text = pieces.join('');
        const reason = finishReason?.unified ?? finishReason;
        if (!isTold(finishReason, text))
          throw new NetworkFailure('the stream ended before the answer did', { sent: 'maybe' });
        const tokens = usage?.outputTokens?.total ?? usage?.outputTokens;
        const told = { ...request.told, text, finishReason: reason };
        yield { state: 'succeeded', answer: typeof tokens === 'number' ? { ...told, tokens } : told };
        return;
      }
    }
    throw new NetworkFailure('the stream ended without a finish', { sent: 'maybe' });
  } catch (error) {
    throw isAdapterFailure(error) ? error : wire.meaning(error);
  }
}

/**
 * Whether the provider itself ended its answer. A package closes a stream that was cut, or that was a page of a proxy, with a finish of its own: `other` or
 * `error` with nothing raw behind it, or `unknown` in version 2 of the interface.
 */
function isTold(finishReason: any, text: string): boolean {
  const reason = finishReason?.unified ?? finishReason;
  if (['stop', 'length', 'content-filter', 'tool-calls'].includes(reason)) return true;
  return text !== '' && reason === 'other' && (typeof finishReason === 'string' || finishReason.raw !== undefined);
}

/** Errors of the reader, not of the provider. */
const unreadable = ['AI_JSONParseError', 'AI_TypeValidationError'];

/** Inside a stream that had begun: the provider's own word that it failed. */
function saidSo(error: any): AdapterFailure {
  const message =
    typeof error === 'string' ? error : (error?.message ?? error?.error?.message ?? JSON.stringify(error));
  return new AdapterFailure(
    { class: 'permanent', code: 'PROVIDER_FAILED', message: `the provider failed: ${message}`, billed: 'unknown' },
    { cause: error },
  );
}

function callOf(request: SdkRequest, context: Context, provider: string): Record<string, unknown> {
  const options = Object.keys(request.options).length > 0 ? { [provider.split('.')[0]!]: request.options } : {};
  return { ...request.call, providerOptions: options, abortSignal: context.signal };
}

/** Logs what the model did without. @returns the names of those features. */
function tell(warnings: any[] | undefined, context: Context): Set<string> {
  const lacks = new Set<string>();
  for (const { type, feature, setting, details, message } of warnings ?? []) {
    const name = feature ?? setting;
    if (name) lacks.add(name);
    // The core chooses a seed for everybody: nobody asked for it.
    if (name !== 'seed') context.log('WARN', [type, name, details ?? message].filter(Boolean).join(': '));
  }
  return lacks;
}

function fileOf(uri: string) {
  const [, mediaType = 'application/octet-stream', data = ''] = /^data:([^;,]+);base64,(.*)$/s.exec(uri) ?? [];
  return { type: 'file' as const, mediaType, data };
}

const bytesOf = (data: string | Uint8Array): Uint8Array =>
  typeof data === 'string' ? new Uint8Array(Buffer.from(data, 'base64')) : data;
