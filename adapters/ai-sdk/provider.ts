import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Config, type ProviderConfig, providerOf } from './config.ts';

/** The parts of the AI SDK's provider interface (v2, v3 and v4 alike) that are used here. */
export interface Provider {
  imageModel?(id: string): ImageModel;
  speechModel?(id: string): CallableModel;
  speech?(id: string): CallableModel;
  languageModel?(id: string): LanguageModel;
  videoModel?(id: string): VideoModel;
  video?(id: string): VideoModel;
}

interface Model {
  /** `openai.image`: the part before the dot is what it calls its own options. */
  provider: string;
  modelId: string;
}

export interface CallableModel extends Model {
  doGenerate(call: object): PromiseLike<any>;
}

export interface ImageModel extends CallableModel {
  /** Undefined: it does not say. */
  maxImagesPerCall?: number | ((options: { modelId: string }) => unknown);
}

export interface LanguageModel extends Model {
  doStream(call: object): PromiseLike<{ stream: ReadableStream<any> }>;
}

export interface VideoModel extends Model {
  doStart(call: object): PromiseLike<{ operation: unknown; warnings?: unknown[] }>;
  doStatus(call: object): PromiseLike<any>;
}

/**
 * A provider that goes to the network through `fetch` and nowhere else.
 * @throws TypeError that says what to install, or what the package lacks.
 */
export async function createProvider(
  config: ProviderConfig,
  secrets: Record<string, string>,
  fetch: typeof globalThis.fetch,
): Promise<Provider> {
  const module = await load(config.package);
  const keys = Object.entries(config.secrets).flatMap(([setting, name]) =>
    secrets[name] === undefined ? [] : [[setting, secrets[name]]],
  );
  return maker(module, config)({ ...config.settings, ...Object.fromEntries(keys), fetch });
}

/** What each task type is made with. */
export interface Models {
  generate_image: ImageModel;
  generate_character_voice: CallableModel;
  generate_text: LanguageModel;
  generate_video: VideoModel;
}

/**
 * The model of one task.
 * @throws TypeError when the package has none of that kind.
 */
export async function openModel<Type extends keyof Models>(
  type: Type,
  config: Config,
  id: string,
  secrets: Record<string, string>,
  fetch: typeof globalThis.fetch,
): Promise<Models[Type]> {
  const { provider: named, modelId } = providerOf(config, id);
  const { title, methods, open } = kinds[type];
  const model = open(await createProvider(named, secrets, fetch), modelId);
  if (methods.every((method) => typeof (model as Record<string, any> | undefined)?.[method] === 'function'))
    return model as Models[Type];
  throw new TypeError(`ai-sdk: ${named.package} has no ${title} (${methods.join(' and ')}) for "${id}"`);
}

const kinds: {
  [Type in keyof Models]: {
    title: string;
    methods: string[];
    open(provider: Provider, id: string): Models[Type] | undefined;
  };
} = {
  generate_image: { title: 'image model', methods: ['doGenerate'], open: (provider, id) => provider.imageModel?.(id) },
  generate_character_voice: {
    title: 'speech model',
    methods: ['doGenerate'],
    open: (provider, id) => (provider.speechModel ?? provider.speech)?.(id),
  },
  generate_text: {
    title: 'language model',
    methods: ['doStream'],
    open: (provider, id) => provider.languageModel?.(id),
  },
  generate_video: {
    title: 'video model that can be started and looked at',
    // A video takes minutes: without these two the work of all of them hangs on one connection.
    methods: ['doStart', 'doStatus'],
    open: (provider, id) => (provider.videoModel ?? provider.video)?.(id),
  },
};

async function load(name: string): Promise<Record<string, any>> {
  // The operator's: it is installed, or lies, where Atelier is started.
  const require = createRequire(join(process.cwd(), 'package.json'));
  try {
    return await import(/^[./]/.test(name) ? pathToFileURL(require.resolve(name)).href : pathOf(name, require));
  } catch (cause) {
    const what = /^[./]/.test(name) ? 'the file cannot be loaded' : `install it: npm install ${name}`;
    throw new TypeError(`ai-sdk: ${name}: ${what} (${(cause as Error).message})`, { cause });
  }
}

function pathOf(name: string, require: NodeJS.Require): string {
  try {
    return pathToFileURL(require.resolve(name)).href;
  } catch {
    return name;
  }
}

function maker(module: Record<string, any>, config: ProviderConfig): (settings: object) => Provider {
  const makers = Object.keys(module).filter((name) => /^create[A-Z]/.test(name) && typeof module[name] === 'function');
  const last = config.package
    .split('/')
    .at(-1)!
    .replace(/\.\w+$/, '');
  const expected = `create${last.replaceAll('-', '')}`.toLowerCase();
  const chosen =
    config.export ?? makers.find((name) => name.toLowerCase() === expected) ?? (makers.length === 1 ? makers[0] : '');
  if (chosen && typeof module[chosen] === 'function') return module[chosen];
  throw new TypeError(
    `ai-sdk: ${config.package}: set "export" to what makes its provider (${makers.join(', ') || 'it has none'})`,
  );
}
