import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type WebSocket, WebSocketServer } from 'ws';
import { type Answer, type Emulator, type Seen, startEmulator } from './emulator.ts';
import { samples } from './samples.ts';

/** A ComfyUI server, written from its own server.py, execution.py and comfy_execution/jobs.py. It runs one job at a time. */
export interface ComfyEmulator extends Emulator {
  /** Ids of jobs in the order in which they began to run. */
  ran: string[];
  /** Ids that were interrupted while they ran. */
  interrupted: string[];
  /** The running job stays where it is, and none begins. */
  hold(): void;
  release(): void;
  /** Forgets every job, as a new process does, and cuts the WebSockets. */
  restart(): void;
  /** Client ids of the open WebSockets. */
  listeners(): string[];
}

export interface ComfyOptions {
  /** `old`: as of 2024; ids are its own, an interrupt hits whatever runs, jobs have no interface. Default: `current`. */
  version?: 'current' | 'old';
  stepMs?: number;
}

interface Job {
  number: number;
  id: string;
  graph: Record<string, { class_type: string; inputs: Record<string, any> }>;
  extra: { client_id?: string; [name: string]: unknown };
}

const classes = [
  'CheckpointLoaderSimple',
  'CLIPTextEncode',
  'EmptyLatentImage',
  'KSampler',
  'VAEDecode',
  'SaveImage',
  'PreviewImage',
  'LoadImage',
  'VHS_VideoCombine',
];
const savers = ['SaveImage', 'PreviewImage', 'VHS_VideoCombine'];

export async function startComfy({ version = 'current', stepMs = 5 }: ComfyOptions = {}): Promise<ComfyEmulator> {
  const isOld = version === 'old';
  let pending: Job[] = [];
  let running: Job | undefined;
  let history = new Map<string, object>();
  let numbers = 0;
  let generation = 0;
  let held = false;
  let stopped = false;
  let interrupts = false;
  const inputs = new Map<string, Buffer>();
  const files = new Map<string, Buffer>();
  const ran: string[] = [];
  const interrupted: string[] = [];
  const sockets = new Map<string, WebSocket>();
  const server = new WebSocketServer({ noServer: true });

  const tell = (client: string | undefined, type: string, data: object) =>
    sockets.get(client ?? '')?.send(JSON.stringify({ type, data }));
  const status = () => ({ status: { exec_info: { queue_remaining: pending.length + (running ? 1 : 0) } } });

  /** @throws Error that says how it ended, if it did not end well. */
  async function breathe(alive: number): Promise<void> {
    do await pause(stepMs);
    while (held && !interrupts && alive === generation);
    if (alive !== generation) throw new Error('gone');
    if (interrupts) throw new Error('interrupted');
  }

  async function run(job: Job): Promise<void> {
    const alive = generation;
    running = job;
    interrupts = false;
    ran.push(job.id);
    const { id } = job;
    const client = job.extra.client_id;
    const messages: [string, object][] = [];
    const outputs: Record<string, object> = {};
    const note = (type: string, data: object) => {
      messages.push([type, { ...data, prompt_id: id, timestamp: Date.now() }]);
      tell(client, type, messages.at(-1)![1]);
    };
    let node = '';
    let success = true;
    note('execution_start', {});
    note('execution_cached', { nodes: [] });
    try {
      for (const [name, { class_type, inputs: values }] of Object.entries(job.graph)) {
        node = name;
        tell(client, 'executing', { node, display_node: node, prompt_id: id });
        await breathe(alive);
        if (class_type === 'CLIPTextEncode' && String(values.text).includes('[out of memory]'))
          throw Object.assign(new Error('Allocation on device'), { type: 'torch.OutOfMemoryError' });
        if (class_type === 'CLIPTextEncode' && String(values.text).includes('[error]'))
          throw Object.assign(new Error('mat1 and mat2 shapes cannot be multiplied'), { type: 'RuntimeError' });
        if (class_type === 'KSampler') {
          for (let step = 1; step <= values.steps; step++) {
            await breathe(alive);
            tell(client, 'progress', { value: step, max: values.steps, prompt_id: id, node });
            if (!isOld)
              tell(client, 'progress_state', {
                prompt_id: id,
                nodes: { [node]: { value: step, max: values.steps, state: 'running', node_id: node, prompt_id: id } },
              });
            if (step === 1)
              sockets.get(client ?? '')?.send(Buffer.concat([Buffer.from([0, 0, 0, 1, 0, 0, 0, 2]), samples.png]));
          }
        }
        if (savers.includes(class_type)) {
          outputs[node] = save(class_type, values, job.graph);
          tell(client, 'executed', { node, output: outputs[node], prompt_id: id });
        }
      }
      note('execution_success', {});
    } catch (error) {
      const { message, type } = error as Error & { type?: string };
      if (message === 'gone') return;
      success = false;
      const where = { node_id: node, node_type: job.graph[node]!.class_type, executed: [] };
      if (message === 'interrupted') {
        interrupted.push(id);
        note('execution_interrupted', where);
      } else note('execution_error', { ...where, exception_message: message, exception_type: type, traceback: [] });
    }
    // What leaves the queue is in the history, in one step.
    running = undefined;
    history.set(id, {
      prompt: [job.number, id, job.graph, job.extra, []],
      outputs,
      status: { status_str: success ? 'success' : 'error', completed: success, messages },
      meta: {},
    });
    tell(client, 'executing', { node: null, prompt_id: id });
  }

  function save(className: string, values: Record<string, any>, graph: Job['graph']): object {
    const isFilm = className === 'VHS_VideoCombine';
    const type = className === 'PreviewImage' ? 'temp' : 'output';
    const latent = Object.values(graph).find(({ class_type }) => class_type === 'EmptyLatentImage');
    const count = isFilm ? 1 : Number(latent?.inputs.batch_size ?? 1);
    const made = Array.from({ length: count }, () => {
      const number = String(files.size + 1).padStart(5, '0');
      const filename = `${values.filename_prefix ?? 'ComfyUI'}_${number}_.${isFilm ? 'mp4' : 'png'}`;
      files.set(`${type}//${filename}`, isFilm ? samples.mp4 : samples.png);
      return {
        filename,
        subfolder: '',
        type,
        ...(isFilm && { format: 'video/h264-mp4', frame_rate: values.frame_rate }),
      };
    });
    return { [isFilm ? 'gifs' : 'images']: made };
  }

  async function work(): Promise<void> {
    while (!stopped) {
      const next = held ? undefined : pending.sort((a, b) => a.number - b.number).shift();
      if (next) await run(next);
      else await pause(stepMs);
    }
  }
  void work();

  const item = ({ number, id, graph, extra }: Job) => [number, id, graph, extra, []];
  const interrupt = (id?: string) => {
    if (running && (!id || running.id === id)) interrupts = true;
  };
  const drop = (id: string) => {
    pending = pending.filter((job) => job.id !== id);
  };

  function answer(request: Seen): Answer | Promise<Answer> {
    const { method, path, query } = request;
    const route = `${method} ${path}`;
    if (route === 'POST /prompt') return queue(request);
    if (route === 'GET /queue')
      return { json: { queue_running: running ? [item(running)] : [], queue_pending: pending.map(item) } };
    if (route === 'GET /history')
      return { json: Object.fromEntries([...history].slice(-Number(query.get('max_items') ?? 1_000))) };
    if (route.startsWith('GET /history/')) {
      const id = path.slice('/history/'.length);
      return { json: history.has(id) ? { [id]: history.get(id) } : {} };
    }
    if (route === 'POST /queue') {
      for (const id of request.json.delete ?? []) drop(id);
      return {};
    }
    if (route === 'POST /interrupt') {
      interrupt(isOld ? undefined : request.json.prompt_id);
      return {};
    }
    if (!isOld && method === 'POST' && /^\/api\/jobs\/[^/]+\/cancel$/.test(path)) {
      const id = path.split('/')[3]!;
      const cancelled = running?.id === id || pending.some((job) => job.id === id);
      interrupt(id);
      drop(id);
      return { json: { cancelled } };
    }
    if (route === 'POST /upload/image') return keep(request);
    if (route === 'GET /view') {
      const bytes = files.get(`${query.get('type')}/${query.get('subfolder')}/${query.get('filename')}`);
      return bytes ? { headers: { 'content-type': 'application/octet-stream' }, body: bytes } : { status: 404 };
    }
    return { status: method === 'GET' ? 404 : 405, body: `${method}: Method Not Allowed` };
  }

  function queue(request: Seen): Answer {
    const { prompt, prompt_id, client_id, extra_data } = request.json;
    if (!isOld && prompt_id !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(prompt_id))
      return refuse('invalid_prompt_id', 'prompt_id must be a valid UUID');
    const wrong = refused(prompt);
    if (wrong) return wrong;
    const id = (!isOld && prompt_id) || randomUUID();
    const number = numbers++;
    pending.push({ number, id, graph: prompt, extra: { ...extra_data, client_id, create_time: Date.now() } });
    return { json: { prompt_id: id, number, node_errors: {} } };
  }

  function refused(graph: Job['graph']): Answer | undefined {
    const unknown = Object.entries(graph).find(([, { class_type }]) => !classes.includes(class_type));
    if (unknown)
      return refuse(
        'missing_node_type',
        `Node '${unknown[1].class_type}' not found. The custom node may not be installed.`,
      );
    if (!Object.values(graph).some(({ class_type }) => savers.includes(class_type)))
      return refuse('prompt_no_outputs', 'Prompt has no outputs');
    const errors: Record<string, object> = {};
    const complain = (node: string, type: string, message: string, details: string, input_name: string) => {
      errors[node] = {
        errors: [{ type, message, details, extra_info: { input_name } }],
        dependent_outputs: [],
        class_type: graph[node]!.class_type,
      };
    };
    for (const [node, { class_type, inputs: values }] of Object.entries(graph)) {
      if (class_type === 'KSampler' && values.seed < 0)
        complain(node, 'value_smaller_than_min', `Value ${values.seed} smaller than min of 0`, 'seed', 'seed');
      if (class_type === 'LoadImage' && !inputs.has(values.image))
        complain(
          node,
          'custom_validation_failed',
          'Custom validation failed for node',
          `image - Invalid image file: ${values.image}`,
          'image',
        );
      if (class_type === 'CheckpointLoaderSimple' && values.ckpt_name !== 'sd.safetensors')
        complain(
          node,
          'value_not_in_list',
          'Value not in list',
          `ckpt_name: '${values.ckpt_name}' not in []`,
          'ckpt_name',
        );
    }
    return Object.keys(errors).length > 0
      ? refuse('prompt_outputs_failed_validation', 'Prompt outputs failed validation', errors)
      : undefined;
  }

  async function keep(request: Seen): Promise<Answer> {
    const form = await new Response(new Uint8Array(request.body), { headers: request.headers }).formData();
    const image = form.get('image') as File | null;
    if (!image?.name) return { status: 400 };
    const subfolder = String(form.get('subfolder') ?? '');
    inputs.set(subfolder ? `${subfolder}/${image.name}` : image.name, Buffer.from(await image.arrayBuffer()));
    return { json: { name: image.name, subfolder, type: 'input' } };
  }

  const emulator = await startEmulator(answer, (request, socket, head) => {
    const client = new URL(request.url!, 'http://vendor').searchParams.get('clientId') || randomUUID();
    server.handleUpgrade(request, socket, head, (opened) => {
      sockets.set(client, opened);
      opened.on('error', () => {});
      opened.on('close', () => sockets.delete(client));
      tell(client, 'status', { ...status(), sid: client });
      if (running?.extra.client_id === client) tell(client, 'executing', { node: Object.keys(running.graph)[0] });
    });
  });
  return {
    ...emulator,
    ran,
    interrupted,
    hold: () => {
      held = true;
    },
    release: () => {
      held = false;
    },
    restart() {
      generation++;
      pending = [];
      running = undefined;
      history = new Map();
      for (const socket of sockets.values()) socket.terminate();
    },
    listeners: () => [...sockets.keys()],
    async close() {
      stopped = true;
      generation++;
      for (const socket of sockets.values()) socket.terminate();
      await emulator.close();
    },
  };
}

function refuse(type: string, message: string, node_errors: object = {}): Answer {
  return { status: 400, json: { error: { type, message, details: '', extra_info: {} }, node_errors } };
}
