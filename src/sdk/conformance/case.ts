import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Adapter, AdapterModel } from '../adapter.ts';
import type { AdapterContext, AssetReference, RequestContext, UploadFile } from '../context.ts';
import type { AssetKind } from '../task-type.ts';
import type { Subject } from './check.ts';
import type { FixtureCase } from './fixture.ts';
import { mapped } from './value.ts';
import { openWire } from './wire.ts';

/** The case's configuration with its defaults. Throws ZodError. */
export function configOf(adapter: Adapter, each: FixtureCase): unknown {
  return adapter.config?.parse(each.config ?? {});
}

/**
 * The models that the adapter has under a case's configuration; where they are asked of the vendor, with the answers that the case holds. Undefined: it holds none.
 */
export async function modelsFor(subject: Subject, each: FixtureCase): Promise<AdapterModel[] | undefined> {
  const { models, hosts } = subject.adapter;
  if (Array.isArray(models)) return models;
  const config = configOf(subject.adapter, each);
  const { signal } = new AbortController();
  const { exchanges } = each;
  const wire = openWire({ exchanges, sockets: [], hosts: hosts?.(config) ?? [], signal, phase: () => 'find' });
  const secrets = subject.secretsOf(each);
  try {
    return await models({ config, secrets, signal, fetch: wire.fetch, cached: (_key, _ttlMs, make) => make() });
  } catch {
    return undefined;
  }
}

/** The model of a case; one that only the vendor could name is taken as it is. */
export function modelOf(subject: Subject, each: FixtureCase): AdapterModel | undefined {
  const known = subject.models.get(each);
  return known ? known.find(({ id }) => id === each.model) : { id: each.model, taskTypes: [each.taskType] };
}

/** What both transformers may know. */
export function transformContext({ adapter }: Subject, each: FixtureCase): Omit<RequestContext, 'files'> {
  const callbackUrl = each.callbackUrl ?? `https://atelier.example/providers/${adapter.name}/callback/token`;
  return {
    config: configOf(adapter, each),
    attemptKey: each.attemptKey ?? '019b0000-0000-7000-8000-000000000000-1',
    ...(adapter.receive && (each.callbackUrl || each.callback) && { callbackUrl }),
  };
}

/** The input as a transformer gets it: with the defaults of its type and of the model's options. */
export function inputOf(
  subject: Subject,
  each: FixtureCase,
  change: Record<string, unknown> = {},
): Record<string, unknown> {
  const given = { ...structuredClone(each.input), ...change };
  const type = subject.taskType(each.taskType);
  const input: Record<string, unknown> = type ? type.input.parse(given) : given;
  const model = modelOf(subject, each);
  if (!subject.models.has(each)) return { ...input, options: input.options ?? {} };
  return { ...input, options: model?.options ? model.options.parse(input.options ?? {}) : {} };
}

/** The request for a case, as toProvider makes it. Throws what it throws. */
export function transform(
  subject: Subject,
  each: FixtureCase,
  input = inputOf(subject, each),
): { request: unknown; warnings: string[] } {
  const transformer = subject.adapter.transformers[each.taskType]!;
  return transformer.toProvider(input, each.model, {
    ...transformContext(subject, each),
    files: references(each, input),
  });
}

/** A field that the case does not name is an empty list, as in Atelier, whatever the task type calls it. */
function references(each: FixtureCase, input: Record<string, unknown>): Record<string, AssetReference[]> {
  let count = 0;
  const files = Object.fromEntries(
    Object.entries(filesOf(each, input)).map(([field, list]) => [
      field,
      list.map(({ kind, contentType }) => ({ assetReference: count++, kind, ...(contentType && { contentType }) })),
    ]),
  );
  return new Proxy(files, {
    get: (target, name) => (typeof name === 'string' && !(name in target) ? [] : Reflect.get(target, name)),
  });
}

type CaseFile = { kind: AssetKind; contentType?: string; place?: string; url?: string };

function filesOf(each: FixtureCase, input = each.input): Record<string, CaseFile[]> {
  const urls = Object.entries(input).filter(
    (entry): entry is [string, string[]] =>
      Array.isArray(entry[1]) && entry[1].length > 0 && entry[1].every((url) => /^https?:\/\//.test(String(url))),
  );
  return {
    ...Object.fromEntries(urls.map(([field, list]) => [field, list.map((url) => ({ kind: kindOf(url), url }))])),
    ...each.files,
  };
}

function kindOf(url: string): AssetKind {
  if (/\.(wav|mp3|flac|ogg|m4a|opus)\b/i.test(url)) return 'AUDIO';
  return /\.(mp4|webm|mov)\b/i.test(url) ? 'VIDEO' : 'IMAGE';
}

/** The request with a file in the place of each reference, as `files` of the adapter asks. */
export async function place(
  adapter: Adapter,
  each: FixtureCase,
  request: unknown,
  context: AdapterContext,
): Promise<unknown> {
  const placed: string[] = [];
  for (const file of Object.values(filesOf(each)).flat()) {
    const index = placed.length;
    placed.push(file.place ?? (await placeOne(adapter, file, index, context)));
  }
  return mapped(request, (value) => {
    const index = (value as AssetReference | null | undefined)?.assetReference;
    return typeof value === 'object' && index !== undefined ? placed[index] : value;
  });
}

const onePixel = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

async function placeOne(adapter: Adapter, file: CaseFile, index: number, context: AdapterContext): Promise<string> {
  const how = adapter.files ?? 'url';
  if (how === 'url') return file.url ?? `https://files.atelier.example/input-${index}`;
  const contentType = file.contentType ?? 'image/png';
  if (how === 'dataUri') return `data:${contentType};base64,${onePixel}`;
  const bytes = Buffer.from(onePixel, 'base64');
  const name = `input-${index}.${contentType.split('/')[1]}`;
  const path = join(context.directory, name);
  await writeFile(path, bytes);
  if (how === 'path') return path;
  const upload: UploadFile = {
    path,
    name,
    kind: file.kind,
    contentType,
    sizeBytes: bytes.length,
    bytes: async () => bytes,
  };
  return adapter.upload!(upload, context);
}
