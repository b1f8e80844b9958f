import type { AssetReference, Output, PayloadTransformer, RequestContext, TaskTypes } from 'atelier/adapter';
import { type Config, type Workflow, workflowOf } from './config.ts';
import { type Graph, put } from './graph.ts';

export interface ComfyRequest {
  graph: Graph;
  /** Which field of the input stands at which place, as `{"6.text": ["prompt"]}`: a complaint about the place is one about the field. */
  filled: Record<string, string[]>;
  told: Told;
}

/** What the result says and the server's answer does not. */
export interface Told {
  seed?: number;
  durationSeconds?: number;
}

/** A file of a finished job, as ComfyUI's history names it. */
export interface ComfyFile {
  filename: string;
  subfolder?: string;
  type?: string;
}

export interface ComfyAnswer extends Told {
  files: ComfyFile[];
  /** The server stands behind a proxy that wants the secret. */
  authorized: boolean;
}

type Transformer<Name extends keyof TaskTypes> = PayloadTransformer<
  TaskTypes[Name]['input'],
  TaskTypes[Name]['result'],
  ComfyRequest,
  ComfyAnswer,
  Config
>;

export const image: Transformer<'generate_image'> = {
  toProvider(input, model, context) {
    const filler = openFiller(workflowOf(context.config, model));
    filler.fill('prompt', input.prompt);
    filler.fill('negativePrompt', input.negativePrompt);
    filler.fill('width', input.width);
    filler.fill('height', input.height);
    filler.fill('count', input.count, input.count > 1);
    filler.fill('seed', input.seed, false);
    filler.images(context, 'referenceImages');
    filler.options(input.options);
    return filler.done();
  },
  fromProvider(answer, { config }) {
    const outputs = answer.files.map((file) => outputOf(file, answer, config)).filter(({ kind }) => kind === 'IMAGE');
    return {
      outputs,
      result: { images: outputs.map((_, output) => ({ output })), seed: answer.seed },
      usage: [{ unit: 'image', quantity: outputs.length }],
    };
  },
};

export const video: Transformer<'generate_video'> = {
  toProvider(input, model, context) {
    const workflow = workflowOf(context.config, model);
    const filler = openFiller(workflow);
    const scene = [input.sceneDescription, input.cameraAngle, input.lighting].filter(Boolean).join(', ');
    filler.fill('prompt', scene, true, 'sceneDescription');
    const size = input.aspectRatio && workflow.sizes[input.aspectRatio];
    if (size) {
      filler.fill('width', size[0], true, 'aspectRatio');
      filler.fill('height', size[1], true, 'aspectRatio');
    } else if (input.aspectRatio) {
      const known = Object.keys(workflow.sizes).join(', ') || 'none';
      filler.warn(`aspectRatio ${input.aspectRatio} is not one of this workflow's (${known}) and was left out`);
    }
    filler.duration(input.durationSeconds);
    filler.fill('seed', input.seed, false);
    filler.images(context, 'storyboardImages');
    filler.options(input.options);
    return filler.done();
  },
  fromProvider: film,
};

export const animation: Transformer<'render_animation'> = {
  toProvider(input, model, context) {
    const filler = openFiller(workflowOf(context.config, model));
    filler.fill('prompt', input.description, true, 'description');
    filler.fill('width', input.width);
    filler.fill('height', input.height);
    filler.fill('framesPerSecond', input.framesPerSecond);
    filler.duration(input.durationSeconds);
    filler.fill('seed', input.seed, false);
    filler.options(input.options);
    for (const name of ['svg', 'lottie'] as const)
      if (input[name] !== undefined) filler.warn(`${name} is not read by ComfyUI and was left out`);
    return filler.done();
  },
  fromProvider: film,
};

function film(answer: ComfyAnswer, { config }: { config: Config }) {
  const files = answer.files.map((file) => outputOf(file, answer, config));
  // Some nodes save their film as an animated picture.
  const made = files.find(({ kind }) => kind === 'VIDEO') ?? files.find(({ kind }) => kind === 'IMAGE');
  const { durationSeconds, seed } = answer;
  return {
    outputs: made ? [{ ...made, kind: 'VIDEO' as const }] : [],
    result: { video: { output: 0 }, durationSeconds, seed },
    // A job that was found again on a server that keeps no extra data has not told.
    usage: durationSeconds === undefined ? undefined : [{ unit: 'second', quantity: durationSeconds }],
  };
}

const kinds: Record<string, Output['kind']> = {
  png: 'IMAGE',
  jpg: 'IMAGE',
  jpeg: 'IMAGE',
  webp: 'IMAGE',
  gif: 'IMAGE',
  avif: 'IMAGE',
  mp4: 'VIDEO',
  webm: 'VIDEO',
  mkv: 'VIDEO',
  mov: 'VIDEO',
};

function outputOf(
  { filename, subfolder = '', type = 'output' }: ComfyFile,
  { authorized }: ComfyAnswer,
  config: Config,
): Output {
  return {
    kind: kinds[filename.split('.').at(-1)!.toLowerCase()] ?? 'OTHER',
    from: {
      url: `${config.baseUrl}/view?${new URLSearchParams({ filename, subfolder, type })}`,
      ...(authorized && { headers: { authorization: { secret: 'COMFYUI_AUTHORIZATION' } } }),
    },
  };
}

type SimpleInput = Exclude<keyof Workflow['inputs'], 'frames' | 'images'>;

/** Puts an input into a copy of a workflow's graph, and keeps what found no place. */
function openFiller({ workflow, inputs, options, durationSeconds: fixedSeconds }: Workflow) {
  const graph = structuredClone(workflow);
  const filled: ComfyRequest['filled'] = {};
  const warnings: string[] = [];
  const told: Told = {};
  const place = (slots: string[], value: unknown, path: string[]) => {
    put(graph, slots, value);
    for (const slot of slots) filled[slot] = path;
  };
  return {
    /** @param missed whether it is told when the workflow has no place for it. */
    fill(name: SimpleInput, value: unknown, missed = true, field: string = name) {
      if (value === undefined) return;
      const slots = inputs[name];
      if (!slots) {
        if (missed) warnings.push(`${field} has no place in this workflow and was left out`);
        return;
      }
      place(slots, value, [field]);
      if (name === 'seed') told.seed = value as number;
    },
    duration(seconds: number) {
      const { frames } = inputs;
      if (frames) {
        const count =
          Math.max(Math.round((seconds * frames.perSecond - frames.plus) / frames.step), 1) * frames.step + frames.plus;
        place(frames.input, count, ['durationSeconds']);
        told.durationSeconds = count / frames.perSecond;
      }
      if (inputs.durationSeconds) place(inputs.durationSeconds, seconds, ['durationSeconds']);
      told.durationSeconds ??= inputs.durationSeconds ? seconds : (fixedSeconds ?? seconds);
      if (Math.abs(told.durationSeconds - seconds) > 0.5)
        warnings.push(`durationSeconds: this workflow makes ${told.durationSeconds} seconds`);
    },
    images({ files }: RequestContext, field: string) {
      const given: AssetReference[] = files[field] ?? [];
      for (const [index, file] of given.slice(0, inputs.images.length).entries())
        place([inputs.images[index]!], file, [field, String(index)]);
      if (given.length > inputs.images.length)
        warnings.push(`${field}: this workflow takes ${inputs.images.length}; the others were left out`);
    },
    options(given: Record<string, unknown> = {}) {
      for (const [name, value] of Object.entries(given))
        if (options[name]) place(options[name].input, value, ['options', name]);
    },
    warn: (warning: string) => void warnings.push(warning),
    done: () => ({ request: { graph, filled, told }, warnings }),
  };
}
