import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import ffmpeg from '@ffmpeg-installer/ffmpeg';
import { createCanvas } from '@napi-rs/canvas';
import { type AdapterContext, type AdapterModel, isAdapterFailure, type Produced } from 'atelier/adapter';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import adapter from './adapter.ts';

const root = mkdtempSync(join(tmpdir(), 'local-engine-'));
const at = (name: string) => join(root, name);
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Run {
  produced: Produced<any>;
  progress: number[];
  log: string[];
}

/** Runs an input as a worker would: transform, put paths in place of references, start, transform back. */
async function run(
  type: string,
  input: object,
  files: Record<string, string[]> = {},
  signal?: AbortSignal,
): Promise<Run> {
  const transformer = adapter.transformers[type]!;
  const references = Object.fromEntries(
    Object.entries(files).map(([field, paths]) => [
      field,
      paths.map((path) => ({ assetReference: path, kind: 'OTHER' })),
    ]),
  );
  const transform = { config: undefined, attemptKey: 'attempt', files: references as any };
  const { request } = transformer.toProvider(input, 'any', transform);
  const sent = JSON.parse(JSON.stringify(request), (_key, value) => value?.assetReference ?? value);
  const progress: number[] = [];
  const log: string[] = [];
  const context: AdapterContext = {
    config: undefined,
    attemptKey: 'attempt',
    taskType: type,
    model: 'any',
    secrets: {},
    cached: (_name, _ttlMs, make) => make(),
    socket: () => {
      throw new Error('the local engine needs no network');
    },
    signal: signal ?? new AbortController().signal,
    deadline: new Date(Date.now() + 60_000),
    now: () => new Date(),
    directory: mkdtempSync(at('attempt-')),
    fetch: () => Promise.reject(new Error('the local engine must not use the network')),
    log: (_level, message) => log.push(message),
    progress: (fraction) => progress.push(fraction),
  };
  const started = await adapter.start(sent, context);
  if (!('answer' in started)) throw new Error('the local engine answers at once');
  return { produced: transformer.fromProvider(started.answer, transform), progress, log };
}

/** The issues of the refusal that `work` must end with. */
async function issuesOf(work: Promise<unknown>): Promise<{ path: string[]; message: string }[]> {
  const error = await work.then(
    () => new Error('it was accepted'),
    (cause) => cause,
  );
  if (!isAdapterFailure(error)) throw error;
  expect(error.facts).toMatchObject({ class: 'invalid_input', billed: 'nothing' });
  expect(adapter.classify!(error, 'start')).toBe(error.facts);
  return error.facts.issues!;
}

const fileOf = ({ produced }: Run, place = 0) => (produced.outputs[place]!.from as { file: string }).file;
const hashOf = (file: string) => createHash('sha256').update(readFileSync(file)).digest('hex');
const probe = (...args: string[]) => spawnSync(ffmpeg.path, ['-hide_banner', ...args], { encoding: 'utf8' }).stderr;
const make = (...args: string[]) => execFileSync(ffmpeg.path, ['-v', 'error', '-y', ...args]);
const secondsOf = (file: string) => {
  const [, minutes, seconds] = /Duration: \d+:(\d+):([\d.]+)/.exec(probe('-i', file))!;
  return Number(minutes) * 60 + Number(seconds);
};
const loudnessOf = (file: string) =>
  Number(/I:\s+(-?[\d.]+) LUFS\s+Threshold/.exec(probe('-i', file, '-af', 'ebur128', '-f', 'null', '-'))![1]);
const sizeOf = (file: string) => {
  const png = readFileSync(file);
  expect(png.subarray(1, 4).toString()).toBe('PNG');
  return [png.readUInt32BE(16), png.readUInt32BE(20)];
};

beforeAll(() => {
  make('-f', 'lavfi', '-i', "aevalsrc='0.02*sin(440*2*PI*t)*(1+sin(t))':d=6:s=44100", at('quiet.wav'));
  make('-f', 'lavfi', '-i', 'aevalsrc=0.8*sin(220*2*PI*t):d=1.5:s=22050', at('loud.wav'));
  make('-f', 'lavfi', '-i', "aevalsrc='if(between(t,1,3),0.3*sin(330*2*PI*t),0)':d=5:s=44100", at('gap.wav'));
  make('-f', 'lavfi', '-i', 'anullsrc', '-t', '2', at('silent.wav'));
  writeFileSync(at('text.wav'), 'this is no recording');
  writeFileSync(at('list.m3u8'), `#EXTM3U\n#EXTINF:6,\nfile://${at('quiet.wav')}\n#EXT-X-ENDLIST\n`);
  const canvas = createCanvas(80, 40);
  canvas.getContext('2d').fillStyle = '#00ff00';
  canvas.getContext('2d').fillRect(0, 0, 80, 40);
  writeFileSync(at('green.png'), canvas.toBuffer('image/png'));
});

describe('transformers', () => {
  const cases: [type: string, input: object, warnings: number][] = [
    ['generate_image', { prompt: 'x', negativePrompt: 'y', width: 64, height: 64, count: 1, seed: 0 }, 1],
    [
      'generate_video',
      { sceneDescription: 'x', durationSeconds: 1, seed: 0, cameraAngle: 'low angle', lighting: 'qwertz' },
      1,
    ],
    ['generate_video', { sceneDescription: 'x', durationSeconds: 1, seed: 0, aspectRatio: '99:1' }, 1],
    ['generate_character_voice', { text: 'x', speed: 1 }, 0],
    ['process_audio', { operation: 'MIX', sources: ['https://example.com/a'], targetLoudnessLufs: -16 }, 0],
    [
      'render_animation',
      {
        description: 'x',
        svg: '<svg><style>@keyframes a{}</style></svg>',
        durationSeconds: 1,
        framesPerSecond: 5,
        width: 65,
        height: 64,
        seed: 0,
      },
      2,
    ],
    ['generate_text', { prompt: 'x', system: 'y', temperature: 0 }, 2],
    ['test_prompt', { template: 'x' }, 0],
  ];
  it.each(cases)('%s: pure, JSON, seed 0 kept, what is unsupported becomes a warning', (type, input, count) => {
    const before = structuredClone(input);
    const context = {
      config: undefined,
      attemptKey: 'a',
      files: { sources: [{ assetReference: 0, kind: 'AUDIO' as const }] },
    };
    const once = adapter.transformers[type]!.toProvider(input, 'any', context);
    expect(adapter.transformers[type]!.toProvider(input, 'any', context)).toEqual(once);
    expect(input).toEqual(before);
    expect(JSON.parse(JSON.stringify(once.request))).toEqual(once.request);
    expect(once.warnings).toHaveLength(count);
    if ('seed' in input) expect(once.request.seed).toBe(0);
  });

  it('refuses options that the model does not have', () => {
    for (const model of adapter.models as AdapterModel[])
      expect(model.options!.safeParse({ unknown: 1 }).success).toBe(false);
  });
});

describe('generate_image', () => {
  const base = { prompt: 'A lighthouse at sunset', width: 321, height: 200, count: 2, seed: 0 };
  it('paints PNGs of the exact size; the same seed gives the same bytes, another seed or prompt gives others', async () => {
    const first = await run('generate_image', base);
    expect(first.produced.usage).toEqual([{ unit: 'image', quantity: 2 }]);
    expect(first.produced.result).toEqual({ images: [{ output: 0 }, { output: 1 }], seed: 0 });
    expect(sizeOf(fileOf(first))).toEqual([321, 200]);
    expect(first.progress.at(-1)).toBe(1);
    const again = await run('generate_image', base);
    expect(hashOf(fileOf(again))).toBe(hashOf(fileOf(first)));
    // Image number i is painted from seed + i.
    const next = await run('generate_image', { ...base, seed: 1, count: 1 });
    expect(hashOf(fileOf(next))).toBe(hashOf(fileOf(first, 1)));
    const other = await run('generate_image', { ...base, prompt: 'A forest', count: 1 });
    expect(new Set([first, next, other].map((made) => hashOf(fileOf(made)))).size).toBe(3);
  });

  it('blends reference images in, and names the place of one that is no picture', async () => {
    const options = { caption: false, referenceStrength: 1 };
    const blended = await run('generate_image', { ...base, count: 1, options }, { referenceImages: [at('green.png')] });
    const pixel = execFileSync(ffmpeg.path, [
      '-v',
      'error',
      '-i',
      fileOf(blended),
      '-f',
      'rawvideo',
      '-pix_fmt',
      'rgb24',
      '-',
    ]).subarray(0, 3);
    expect([...pixel]).toEqual([0, 255, 0]);
    const input = { ...base, referenceImages: ['https://example.com/a'], referenceAssetIds: ['asset'] };
    const issues = await issuesOf(run('generate_image', input, { referenceImages: [at('green.png'), at('text.wav')] }));
    expect(issues[0]!.path).toEqual(['referenceAssetIds', '0']);
  });
});

describe('generate_video', () => {
  it.each([
    [{ durationSeconds: 3, lighting: 'golden hour', cameraAngle: 'dutch, handheld' }, [], '960x540', 3],
    [
      { durationSeconds: 1.5, aspectRatio: '9:16', options: { resolution: '360p' } },
      ['green.png', 'green.png'],
      '360x640',
      1.5,
    ],
  ])('films H.264 of the right length and shape: %j', async (input, storyboard, size, seconds) => {
    const files = { storyboardImages: storyboard.map(at) };
    const made = await run(
      'generate_video',
      { sceneDescription: 'A boat at sunset. Night falls.', seed: 1, ...input },
      files,
    );
    const facts = probe('-i', fileOf(made));
    expect(facts).toMatch(/Video: h264/);
    expect(facts).toContain('yuv420p');
    expect(facts).toContain(size);
    expect(Math.abs(secondsOf(fileOf(made)) - seconds)).toBeLessThanOrEqual(1 / 24);
    expect(made.produced.usage).toEqual([{ unit: 'second', quantity: seconds }]);
    expect(made.progress).toEqual([...made.progress].sort((a, b) => a - b));
    expect(made.progress.length).toBeGreaterThan(20);
    // Fast start: the index comes before the media.
    const bytes = readFileSync(fileOf(made));
    expect(bytes.indexOf('moov')).toBeLessThan(bytes.indexOf('mdat'));
  });
});

describe('generate_character_voice', () => {
  it.each([
    [{ text: 'Hello there.', speed: 1 }, 'audio/wav', /pcm_s16le/],
    [
      { text: '-v is no option here, <b>nor</b> is this.', speed: 4, voice: 'en-gb+f3', options: { format: 'mp3' } },
      'audio/mpeg',
      /mp3/,
    ],
    [{ text: 'Grüß Gott!', speed: 0.25, language: 'de-AT', voice: 'Annie' }, 'audio/wav', /pcm_s16le/],
  ])('speaks %j', async (input, contentType, codec) => {
    const made = await run('generate_character_voice', input);
    expect(made.produced.outputs[0]!.contentType).toBe(contentType);
    expect(probe('-i', fileOf(made))).toMatch(codec);
    expect(secondsOf(fileOf(made))).toBeCloseTo(made.produced.result.durationSeconds, 0);
    expect(loudnessOf(fileOf(made))).toBeGreaterThan(-40);
    expect(made.produced.usage).toEqual([{ unit: 'character', quantity: [...input.text].length }]);
  });

  it('says which voices and languages there are', async () => {
    const voice = await issuesOf(run('generate_character_voice', { text: 'x', speed: 1, voice: 'nobody' }));
    expect(voice[0]).toMatchObject({ path: ['voice'], message: expect.stringContaining('en-us') });
    const language = await issuesOf(run('generate_character_voice', { text: 'x', speed: 1, language: 'xx-YY' }));
    expect(language[0]).toMatchObject({ path: ['language'], message: expect.stringContaining('pt-br') });
  });
});

describe('process_audio', () => {
  it.each([
    ['NORMALIZE', ['quiet.wav'], -16, 6],
    ['NORMALIZE', ['loud.wav'], -23, 1.5],
    ['MIX', ['quiet.wav', 'loud.wav'], -18, 6],
    ['CONCATENATE', ['quiet.wav', 'loud.wav', 'gap.wav'], -20, 12.5],
  ])('%s of %j reaches %d LUFS within 1 LU', async (operation, names, target, seconds) => {
    const made = await run('process_audio', { operation, targetLoudnessLufs: target }, { sources: names.map(at) });
    expect(Math.abs(loudnessOf(fileOf(made)) - target)).toBeLessThan(1);
    expect(made.produced.result.durationSeconds).toBeCloseTo(seconds, 1);
    expect(made.produced.usage).toEqual([{ unit: 'operation', quantity: 1 }]);
  });

  it('trims the silence at both ends', async () => {
    const made = await run(
      'process_audio',
      { operation: 'TRIM_SILENCE', targetLoudnessLufs: -16 },
      { sources: [at('gap.wav')] },
    );
    expect(secondsOf(fileOf(made))).toBeCloseTo(2, 1);
  });

  it.each([
    ['mp3', /Audio: mp3.*22050 Hz, mono/],
    ['flac', /Audio: flac.*22050 Hz, mono/],
    ['ogg', /Audio: vorbis.*22050 Hz, mono/],
    ['m4a', /Audio: aac.*22050 Hz, mono/],
  ])('converts to %s', async (format, facts) => {
    const options = { format, sampleRate: 22050, channels: 1 };
    const made = await run(
      'process_audio',
      { operation: 'CONVERT', targetLoudnessLufs: -16, options },
      { sources: [at('gap.wav')] },
    );
    expect(probe('-i', fileOf(made))).toMatch(facts);
  });

  it.each([
    ['MIX', ['quiet.wav', 'text.wav'], ['sources', '1']],
    ['CONVERT', ['list.m3u8'], ['sources', '0']],
    ['NORMALIZE', ['silent.wav'], ['sources', '0']],
    ['TRIM_SILENCE', ['silent.wav'], ['sources', '0']],
  ])('%s of %j is refused with the place of the source', async (operation, names, path) => {
    const input = { operation, targetLoudnessLufs: -16, sources: names };
    expect((await issuesOf(run('process_audio', input, { sources: names.map(at) })))[0]!.path).toEqual(path);
  });
});

describe('render_animation', () => {
  const base = {
    description: 'two red balls bouncing',
    durationSeconds: 1,
    framesPerSecond: 10,
    width: 128,
    height: 96,
    seed: 5,
  };
  const circle = (inside: string) =>
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 96"><circle cx="16" cy="48" r="12" fill="red">${inside}</circle></svg>`;
  const lottie = {
    ...{ v: '5.5.7', fr: 10, ip: 0, op: 10, w: 128, h: 96, assets: [] },
    layers: [
      {
        ty: 1,
        ind: 1,
        ip: 0,
        op: 10,
        st: 0,
        sw: 128,
        sh: 96,
        sc: '#0000ff',
        ks: {
          o: { a: 0, k: 100 },
          p: { a: 0, k: [0, 0, 0] },
          a: { a: 0, k: [0, 0, 0] },
          s: { a: 0, k: [100, 100, 100] },
          r: { a: 0, k: 0 },
        },
      },
    ],
  };
  /** RGB of the pixel at (x, y) in the frame at `seconds`. */
  const pixel = (file: string, seconds: number, x: number, y: number) => [
    ...execFileSync(ffmpeg.path, [
      '-v',
      'error',
      '-ss',
      String(seconds),
      '-i',
      file,
      '-frames:v',
      '1',
      '-vf',
      `crop=2:2:${x}:${y}`,
      '-f',
      'rawvideo',
      '-pix_fmt',
      'rgb24',
      '-',
    ]).subarray(0, 3),
  ];
  const isNear = (colour: number[], wanted: number[]) =>
    colour.every((value, index) => Math.abs(value - wanted[index]!) < 40);

  it('draws a description, also at an odd size', async () => {
    const made = await run('render_animation', { ...base, width: 127 });
    expect(probe('-i', fileOf(made))).toMatch(/h264.*yuv444p.*127x96.*10 fps/);
    expect(secondsOf(fileOf(made))).toBeCloseTo(1, 2);
    expect(made.produced.result).toEqual({ video: { output: 0 }, durationSeconds: 1, seed: 5 });
  });

  it('plays SMIL', async () => {
    const made = await run('render_animation', {
      ...base,
      svg: circle('<animate attributeName="cx" from="16" to="112" dur="1s"/>'),
    });
    expect(isNear(pixel(fileOf(made), 0, 16, 48), [255, 0, 0])).toBe(true);
    expect(isNear(pixel(fileOf(made), 0.85, 16, 48), [255, 255, 255])).toBe(true);
    expect(isNear(pixel(fileOf(made), 0.85, 100, 48), [255, 0, 0])).toBe(true);
  });

  it('opens no file that an SVG points to', async () => {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 128 96"><image href="${at('green.png')}" width="128" height="96"/><image href="file://${at('green.png')}" width="128" height="96"/></svg>`;
    const made = await run('render_animation', { ...base, description: 'still', svg });
    expect(isNear(pixel(fileOf(made), 0, 64, 48), [255, 255, 255])).toBe(true);
    expect(made.log.join()).toContain('2 reference(s)');
  });

  it('renders Lottie', async () => {
    const made = await run('render_animation', { ...base, lottie });
    expect(isNear(pixel(fileOf(made), 0.5, 64, 48), [0, 0, 255])).toBe(true);
  });

  it.each([
    [{ svg: '<svg><g></svg>' }, 'svg'],
    [{ svg: 'no svg at all' }, 'svg'],
    [{ lottie: { a: 1 } }, 'lottie'],
    [{ lottie: { ...lottie, op: 0 } }, 'lottie'],
  ])('refuses %j', async (input, field) => {
    expect((await issuesOf(run('render_animation', { ...base, ...input })))[0]!.path).toEqual([field]);
  });
});

describe('generate_text', () => {
  it('writes within maxTokens, always the same', async () => {
    const input = { prompt: 'Write about the lighthouse keepers of Brittany. They lived alone.', maxTokens: 30 };
    const [first, second] = [await run('generate_text', input), await run('generate_text', input)];
    expect(first.produced).toEqual(second.produced);
    expect(first.produced.result.text).toContain('lighthouse keepers of Brittany');
    expect(first.produced.usage).toEqual([{ unit: 'token', quantity: 30 }]);
  });

  it.each<[schema: object, value: unknown]>([
    [
      {
        type: 'object',
        required: ['n', 'list'],
        properties: {
          n: { type: 'integer', minimum: 5, maximum: 9, multipleOf: 3 },
          list: { type: 'array', minItems: 3, items: { enum: ['a', 'b'] } },
          $x: { type: 'boolean' },
        },
      },
      { n: 6, list: ['a', 'b', 'a'], $x: true },
    ],
    [{ type: ['null', 'string'], minLength: 3, maxLength: 4 }, expect.stringMatching(/^.{3,4}$/)],
    [
      { anyOf: [{ type: 'null' }, { $ref: '#/$defs/day' }], $defs: { day: { type: 'string', format: 'date' } } },
      '2024-01-01',
    ],
    [{ allOf: [{ required: ['a'] }, { properties: { a: { const: 0 } } }] }, { a: 0 }],
    [{ type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 0.2 }, expect.closeTo(0.1)],
  ])('makes JSON for %j', async (responseSchema, value) => {
    const made = await run('generate_text', { prompt: 'birds of the sea', responseSchema });
    expect(made.produced.result.json).toEqual(value);
    expect(JSON.parse(made.produced.result.text)).toEqual(value);
  });

  it('makes lists of different things: what the prompt names in quotation marks, then its aspects', async () => {
    const idea = { type: 'object', properties: { title: { type: 'string' }, angle: { type: 'string' } } };
    const ideas = async (prompt: string, minItems: number) => {
      const responseSchema = { type: 'object', properties: { ideas: { type: 'array', minItems, items: idea } } };
      const [first, second] = [
        await run('generate_text', { prompt, responseSchema }),
        await run('generate_text', { prompt, responseSchema }),
      ];
      expect(first.produced.result).toEqual(second.produced.result);
      return first.produced.result.json.ideas;
    };
    expect(
      await ideas('Give two ideas for articles about compost. People search for: ["compost","worms in compost"].', 2),
    ).toEqual([
      { title: 'Worms in compost', angle: 'worms in compost' },
      { title: 'Compost: first steps', angle: 'compost: first steps' },
    ]);
    const many = await ideas('Give ideas for articles about whales. They eat krill and sing.', 30);
    for (const field of ['title', 'angle'])
      expect(new Set(many.map((each: any) => each[field]))).toHaveProperty('size', 30);
  });

  it('writes a section on each thing that the prompt names', async () => {
    const prompt = 'Write the article "Compost in winter" in Markdown. Its headings: ["frozen heaps","Worms"]';
    const { text } = (await run('generate_text', { prompt })).produced.result;
    expect(text.match(/^#.*$/gm)).toEqual(['# Compost in winter', '## Frozen heaps', '## Worms']);
  });

  it.each([
    [{ type: 'nonsense' }],
    [{ type: 'string', pattern: '^[0-9]{4}$' }],
    [{ $ref: 'https://example.com/schema' }],
    [7],
  ])('refuses the schema %j', async (responseSchema) => {
    expect((await issuesOf(run('generate_text', { prompt: 'x', responseSchema })))[0]!.path).toEqual([
      'responseSchema',
    ]);
  });
});

describe('test_prompt', () => {
  it('fills the template, names what is missing and judges each expectation', async () => {
    const made = await run('test_prompt', {
      template: 'Greet {{ user.name }} in {{language}} {{constructor}}',
      variables: { user: { name: 'Ada' } },
      expectations: ['ADA', '!bob', '/gr[e]+t/i', '!/^zzz/', 'Bob'],
    });
    const { rendered, passed, missingVariables, expectations } = made.produced.result;
    expect(rendered).toBe('Greet Ada in {{language}} {{constructor}}');
    expect(missingVariables).toEqual(['language', 'constructor']);
    expect(expectations.map((judged: any) => judged.passed)).toEqual([true, true, true, true, false]);
    expect(passed).toBe(false);
    expect(made.produced.usage).toEqual([{ unit: 'run', quantity: 1 }]);
  });

  it.each(['/(/', '/(\\w+\\s?)+$!/'])('refuses the pattern %s, broken or endless', async (pattern) => {
    expect((await issuesOf(run('test_prompt', { template: 'x', expectations: ['x', pattern] })))[0]!.path).toEqual([
      'expectations',
      '1',
    ]);
  });
});

describe('cancelling', () => {
  it.skipIf(!existsSync('/proc/self'))('leaves no process behind and ends with the reason', async () => {
    const abort = new AbortController();
    const input = {
      description: 'stars spinning',
      durationSeconds: 60,
      framesPerSecond: 60,
      width: 1280,
      height: 720,
      seed: 1,
    };
    const work = run('render_animation', input, {}, abort.signal);
    await expect.poll(() => programsIn(root), { timeout: 15_000 }).toContain('ffmpeg');
    abort.abort(new Error('cancelled by the client'));
    await expect(work).rejects.toThrow('cancelled by the client');
    expect(programsIn(root)).toEqual([]);
  });
});

/** The programs that work in a folder below `folder`. */
function programsIn(folder: string): string[] {
  return readdirSync('/proc').flatMap((id) => {
    try {
      if (!readlinkSync(`/proc/${id}/cwd`).startsWith(`${folder}/`)) return [];
      return [basename(readlinkSync(`/proc/${id}/exe`))];
    } catch {
      // No process, or one that has just ended.
      return [];
    }
  });
}
