import {
  type Cost,
  fillTemplate,
  type Output,
  type PayloadTransformer,
  type Produced,
  refuseInput,
  type Usage,
} from 'atelier/adapter';
import { mp4File, pngFile, wavFile } from './files.ts';
import { type Script, script } from './script.ts';

/** What is asked of the made-up vendor; and, when the job is done, what it answers. JSON, so that it fits into a handle. */
export interface ScriptedJob {
  /** Of the task type's own fields, what the files and the result need. */
  facts: {
    width?: number;
    height?: number;
    count?: number;
    seed?: number;
    rendered?: string;
    missing?: string[];
    expectations?: string[];
  };
  script: Script;
}

type Transformer = PayloadTransformer<any, any, ScriptedJob, ScriptedJob>;

/** Of a job that takes time, as JSON: it stands in the handle, which is stored and read at every look. */
const maxJobBytes = 64 * 1024;

/** Whole length of the sounds and films, in seconds. */
const durationSeconds = 1;

const png = ({ facts }: ScriptedJob, index: number): Output => ({
  kind: 'IMAGE',
  contentType: 'image/png',
  from: { bytes: pngFile(facts.width ?? 64, facts.height ?? 64, (facts.seed ?? 0) + index) },
});
const wav = (): Output => ({ kind: 'AUDIO', contentType: 'audio/wav', from: { bytes: wavFile() } });
const mp4 = (): Output => ({ kind: 'VIDEO', contentType: 'video/mp4', from: { bytes: mp4File() } });

/** The text as it is streamed, or as it is. */
export const textOf = ({ deltas, text }: Script): string => (deltas.length > 0 ? deltas.join('') : text);

/** Fields of an input that make no difference, each with the value that asks for nothing. */
type LeftOut = Record<string, unknown>;

const none = undefined;

const image = transformer({
  leftOut: { negativePrompt: none, referenceImages: none },
  facts: ({ width, height, count, seed }) => ({ width, height, count, seed }),
  make: png,
  result: ({ facts }, outputs) => ({ images: outputs.map((_, output) => ({ output })), seed: facts.seed }),
});
const film = (leftOut: LeftOut) =>
  transformer({
    leftOut,
    facts: ({ seed }) => ({ seed }),
    make: mp4,
    result: ({ facts }) => ({ video: { output: 0 }, durationSeconds, seed: facts.seed }),
  });
const sound = (leftOut: LeftOut) =>
  transformer({ leftOut, make: wav, result: () => ({ audio: { output: 0 }, durationSeconds }) });
const text = transformer({
  leftOut: { system: none, maxTokens: none, temperature: none, responseSchema: none },
  result: ({ script: told }) => ({ text: textOf(told), ...(told.json !== undefined && { json: told.json }) }),
});
const prompt = transformer({
  leftOut: { system: none },
  facts: ({ template, variables, expectations = [] }) => ({ ...fillTemplate(template, variables), expectations }),
  result({ facts, script: told }) {
    const { rendered = '', missing = [], expectations = [] } = facts;
    return {
      rendered,
      text: textOf(told),
      passed: told.passed && missing.length === 0,
      missingVariables: missing,
      expectations: expectations.map((expectation) => ({ expectation, passed: told.passed })),
    };
  },
});

/** By task type. */
export const transformers = {
  generate_image: image,
  generate_video: film({
    storyboardImages: none,
    cameraAngle: none,
    lighting: none,
    durationSeconds: 7,
    aspectRatio: none,
  }),
  render_animation: film({
    svg: none,
    lottie: none,
    durationSeconds: 3,
    framesPerSecond: 24,
    width: 640,
    height: 360,
  }),
  generate_character_voice: sound({ voice: none, language: none, speed: 1 }),
  process_audio: sound({ targetLoudnessLufs: -16 }),
  generate_text: text,
  test_prompt: prompt,
};

/** The first file of a job, before it is done. Undefined where its type makes none. */
export function previewOf(taskType: string, job: ScriptedJob): Output | undefined {
  const { outputs } = transformers[taskType as keyof typeof transformers].fromProvider(job, {} as never);
  return outputs[0];
}

const isGiven = (value: unknown, usual: unknown): boolean =>
  value !== undefined && value !== usual && !(Array.isArray(value) && value.length === 0);

function transformer(of: {
  leftOut: LeftOut;
  facts?(input: any): ScriptedJob['facts'];
  make?(job: ScriptedJob, index: number): Output;
  result(job: ScriptedJob, outputs: Output[]): unknown;
}): Transformer {
  return {
    toProvider(input, model, { files }) {
      const request: ScriptedJob = { facts: of.facts?.(input) ?? {}, script: script.parse(input.options ?? {}) };
      if (request.script.durationMs > 0 && Buffer.byteLength(JSON.stringify(request)) > maxJobBytes)
        refuseInput('options', `with durationMs, the whole job must fit into ${maxJobBytes} bytes`);
      const warnings = Object.entries(of.leftOut)
        .filter(([name, usual]) => files?.[name]?.length || isGiven(input[name], usual))
        .map(([name]) => `${name} makes no difference to ${model} and was left out`);
      return { request, warnings };
    },
    fromProvider(job): Produced<any> {
      const count = of.make ? (job.script.outputs ?? job.facts.count ?? 1) : 0;
      const outputs = Array.from({ length: count }, (_, index) => of.make!(job, index));
      const usage: Usage[] | undefined = job.script.usage;
      const cost: Cost | undefined = job.script.cost;
      return { outputs, result: of.result(job, outputs), ...(usage && { usage }), ...(cost && { cost }) };
    },
  };
}
