import { readFileSync } from 'node:fs';
import { z } from 'atelier/adapter';
import { type Graph, graph, slot, valueAt } from './graph.ts';

const slots = z
  .union([slot, z.array(slot).min(1)])
  .transform((given) => [given].flat())
  .describe('One place in the graph, or several that get the same value.');

const option = z.strictObject({
  input: slots,
  description: z.string().min(1).optional().describe('What it does, with its unit. Default: which node it is of.'),
  type: z
    .enum(['integer', 'number', 'string', 'boolean'])
    .optional()
    .describe("Default: as the graph's own value is; a number may have a fraction."),
  min: z.number().optional(),
  max: z.number().optional(),
  values: z
    .array(z.union([z.string(), z.number()]))
    .min(1)
    .optional()
    .describe('The only values that are taken, as names of samplers.'),
});

const inputs = z.strictObject({
  prompt: slots.optional(),
  negativePrompt: slots.optional(),
  seed: slots.optional(),
  width: slots.optional(),
  height: slots.optional(),
  count: slots.optional().describe('The batch size.'),
  durationSeconds: slots.optional(),
  framesPerSecond: slots.optional(),
  frames: z
    .strictObject({
      input: slots,
      perSecond: z.number().positive(),
      step: z.int().min(1).default(1).describe('Only multiples of it …'),
      plus: z.int().min(0).default(0).describe('… with this on top: step 4 and plus 1 for models that want 4n + 1.'),
    })
    .optional()
    .describe('The number of frames, counted from the seconds that are asked for.'),
  images: z.array(slot).default([]).describe('Where the reference or storyboard images go, in their order.'),
});

const workflow = z
  .strictObject({
    id: z.string().min(1).max(200).describe("The model's id."),
    taskTypes: z.array(z.enum(['generate_image', 'generate_video', 'render_animation'])).min(1),
    workflow: z
      .union([z.string().min(1), z.record(z.string(), z.unknown())])
      .transform((given, context) => readGraph(given, context))
      .describe('A graph in ComfyUI\'s API format ("Export (API)"), or the path of a file that holds one.'),
    inputs: inputs.default({ images: [] }),
    options: z.record(z.string().regex(/^[A-Za-z][A-Za-z0-9]*$/), option).default({}),
    sizes: z
      .record(z.string().regex(/^[1-9]\d?:[1-9]\d?$/), z.tuple([z.int().positive(), z.int().positive()]))
      .default({})
      .describe('Width and height for each aspectRatio of generate_video, as {"16:9": [832, 480]}.'),
    outputs: z
      .array(z.string())
      .min(1)
      .optional()
      .describe('Nodes whose files are the result. Default: every node that saves, previews left out.'),
    durationSeconds: z.number().positive().optional().describe('Of a film whose length the graph fixes.'),
    typicalMs: z.number().positive().optional(),
    concurrency: z.int().min(1).optional().describe('Jobs of it at the server at once. Default: no limit.'),
  })
  .superRefine((given, context) => {
    const { inputs, options, outputs, taskTypes } = given;
    const named: [string, string[]][] = [
      ...Object.entries(inputs).map(([name, value]): [string, string[]] => [
        `inputs.${name}`,
        Array.isArray(value) ? value : (value?.input ?? []),
      ]),
      ...Object.entries(options).map(([name, { input }]): [string, string[]] => [`options.${name}`, input]),
    ];
    for (const [name, places] of named)
      for (const place of places)
        if (valueAt(given.workflow, place) === undefined)
          context.addIssue({ code: 'custom', path: name.split('.'), message: `the workflow has no input ${place}` });
    for (const node of outputs ?? [])
      if (!given.workflow[node])
        context.addIssue({ code: 'custom', path: ['outputs'], message: `the workflow has no node ${node}` });
    const isFilm = taskTypes.some((type) => type !== 'generate_image');
    if (isFilm && !inputs.durationSeconds && !inputs.frames && given.durationSeconds === undefined)
      context.addIssue({
        code: 'custom',
        path: ['durationSeconds'],
        message:
          'say how long the film is: inputs.durationSeconds, inputs.frames, or durationSeconds for a fixed length',
      });
  });

/** What ATELIER_ADAPTER_COMFYUI holds. */
export const config = z.strictObject({
  baseUrl: z
    .url({ protocol: /^https?$/ })
    .transform((url) => url.replace(/\/+$/, ''))
    .describe('One ComfyUI server, as http://gpu-1:8188. Not a balancer over several: each knows only its own jobs.'),
  workflows: z.array(workflow).min(1),
});

export type Config = z.output<typeof config>;
export type Workflow = Config['workflows'][number];

/** @throws Error for a model whose workflow was taken out of the configuration. */
export function workflowOf(config: Config, model: string): Workflow {
  const found = config.workflows.find(({ id }) => id === model);
  if (!found) throw new Error(`the configuration holds no workflow "${model}"`);
  return found;
}

function readGraph(given: unknown, context: z.core.$RefinementCtx): Graph {
  const fail = (message: string): never => {
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  };
  let value = given;
  if (typeof given === 'string') {
    try {
      value = JSON.parse(readFileSync(given, 'utf8'));
    } catch (error) {
      return fail(`${given}: ${(error as Error).message}`);
    }
  }
  if (Array.isArray((value as { nodes?: unknown }).nodes))
    return fail('this is the format of the editor; export the workflow with "Export (API)"');
  const parsed = graph.safeParse(value);
  return parsed.success ? parsed.data : fail(`is no workflow in API format: ${z.prettifyError(parsed.error)}`);
}
