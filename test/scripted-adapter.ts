import { type Adapter, AdapterFailure, defineAdapter, type FailureClass, z } from 'atelier/adapter';

const script = z.strictObject({
  /** Progress to report, in order. */
  progress: z.array(z.number()).default([]),
  logs: z.array(z.string()).default([]),
  /** Text that `result.text` and each output hold. */
  text: z.string().default('done'),
  outputs: z.int().default(1),
  /** Fails this many attempts of a task before one succeeds; -1 = all. */
  failTimes: z.int().default(0),
  failClass: z.string().default('retryable'),
  billed: z.array(z.object({ unit: z.string(), quantity: z.number() })).optional(),
  usage: z.array(z.object({ unit: z.string(), quantity: z.number() })).optional(),
  /** Throws a plain Error. */
  throws: z.boolean().default(false),
  /** Waits until {@link Script.open} is called with this name. */
  gate: z.string().optional(),
  /** Does not heed the abort signal while it waits. */
  deaf: z.boolean().default(false),
  /** Puts into the text what Postgres cannot keep. */
  unstorable: z.boolean().default(false),
  /** This many polls of a task throw. */
  pollThrows: z.int().default(0),
  /** Returns a handle, and succeeds at this many polls. */
  polls: z.int().default(0),
});

type Options = z.output<typeof script>;

export interface Script {
  adapter: Adapter;
  /** Attempt keys of the calls to start, in order. */
  starts: string[];
  polls: string[];
  cancels: string[];
  /** Lets everything that waits at a gate go on, now and later. */
  open(gate: string): void;
  /** Resolves when something waits at the gate. */
  reached(gate: string): Promise<void>;
}

/** An adapter that does what its input's options say, for every task type; and a record of what it was asked. */
export function scriptedAdapter(manifest: Partial<Adapter> = {}): Script {
  const gates = new Map<string, { opened: boolean; go: (() => void)[]; reached: (() => void)[]; waiting: number }>();
  const gate = (name: string) => {
    const known = gates.get(name) ?? { opened: false, go: [], reached: [], waiting: 0 };
    gates.set(name, known);
    return known;
  };
  const starts: string[] = [];
  const polls: string[] = [];
  const cancels: string[] = [];
  const tries = new Map<string, number>();

  async function waitAt(name: string, signal: AbortSignal, deaf: boolean): Promise<void> {
    const { opened, go, reached } = gate(name);
    gate(name).waiting++;
    for (const tell of reached.splice(0)) tell();
    if (opened) return;
    await new Promise<void>((resolve, reject) => {
      go.push(resolve);
      if (!deaf) signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
  }

  const transformer = {
    toProvider: (input: { options: Options }) => ({ request: input.options, warnings: [] }),
    fromProvider: ({ unstorable, ...options }: Options) =>
      produced(unstorable ? { ...options, text: 'a\0b\ud800c' } : options),
  };
  const taskTypes = [
    'generate_video',
    'generate_image',
    'generate_character_voice',
    'process_audio',
    'render_animation',
    'generate_text',
    'test_prompt',
  ];
  const adapter = defineAdapter({
    name: 'scripted',
    contract: 1,
    version: '1.0.0',
    title: 'Scripted',
    runs: 'here',
    resubmit: 'safe',
    models: [{ id: 'script', taskTypes, options: script }],
    transformers: Object.fromEntries(taskTypes.map((type) => [type, transformer])),
    async start(options: Options, context) {
      starts.push(context.attemptKey);
      const task = context.attemptKey.replace(/-\d+$/, '');
      const tried = (tries.get(task) ?? 0) + 1;
      tries.set(task, tried);
      for (const line of options.logs) context.log('INFO', line);
      for (const fraction of options.progress) context.progress(fraction, 'working');
      if (options.gate) await waitAt(options.gate, context.signal, options.deaf);
      if (options.throws) throw new Error('the script says so');
      if (options.failTimes < 0 || tried <= options.failTimes) {
        throw new AdapterFailure({
          class: options.failClass as FailureClass,
          code: 'SCRIPTED',
          message: 'the script says so',
          billed: options.billed,
        });
      }
      return options.polls > 0 ? { handle: { left: options.polls, options }, pollAfterMs: 10 } : { answer: options };
    },
    async poll(handle, context) {
      polls.push(context.attemptKey);
      const { options } = handle as { options: Options };
      const seen = polls.filter((key) => key === context.attemptKey).length;
      if (seen <= options.pollThrows) throw new Error('the script says so');
      return seen >= options.polls
        ? { state: 'succeeded', answer: options }
        : { state: 'running', progress: seen / options.polls };
    },
    async cancel(_, context) {
      cancels.push(context.attemptKey);
      return 'cancelled';
    },
    ...manifest,
  });
  return {
    adapter,
    starts,
    polls,
    cancels,
    open(name) {
      const known = gate(name);
      known.opened = true;
      for (const go of known.go.splice(0)) go();
    },
    reached: (name) =>
      gate(name).waiting > 0 ? Promise.resolve() : new Promise((resolve) => gate(name).reached.push(resolve)),
  };
}

function produced({ text, outputs, usage }: Pick<Options, 'text' | 'outputs' | 'usage'>) {
  return {
    outputs: Array.from({ length: outputs }, () => ({ kind: 'TEXT' as const, from: { text } })),
    result: {
      text,
      rendered: text,
      passed: true,
      missingVariables: [],
      expectations: [],
      durationSeconds: 1,
      images: Array.from({ length: outputs }, (_, output) => ({ output })),
      video: { output: 0 },
      audio: { output: 0 },
    },
    usage,
  };
}
