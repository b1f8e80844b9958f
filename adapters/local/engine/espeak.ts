import { MissingPiece } from './refusal.ts';

/** One run of the espeak-ng command in WebAssembly. */
interface EspeakRun {
  FS: { readFile(path: string): Uint8Array };
}
type Espeak = (options: {
  arguments: string[];
  print(line: string): void;
  printErr(line: string): void;
  preRun?: ((module: { FS: { writeFile(path: string, text: string): void } }) => void)[];
}) => Promise<EspeakRun>;

/** A voice of espeak-ng. */
export interface Voice {
  /** What `-v` takes: `en-us`. */
  id: string;
  /** `English_(America)`. */
  name: string;
  /** Other tags that it serves: `en`. */
  also: string[];
}

/** Samples of one channel, 16 bits each. */
export interface Speech {
  samples: Buffer;
  sampleRate: number;
}

/** The voices that are there; `variants` change the character of any of them, as `en+f3`. */
export async function listVoices(kind: 'languages' | 'variants'): Promise<Voice[]> {
  const lines: string[] = [];
  const espeak = await load();
  await espeak({
    arguments: [kind === 'languages' ? '--voices' : '--voices=variant'],
    print: (line) => lines.push(line),
    printErr: () => {},
  });
  return lines.slice(1).map((line) => {
    // The file comes last but for the other languages, and may hold a space.
    const [, language = '', , name = '', ...file] = line.replace(/\(.*/, '').trim().split(/\s+/);
    const also = [...line.matchAll(/\((\S+) \d+\)/g)].map((match) => match[1]!);
    return { id: kind === 'languages' ? language : file.join(' ').replace('!v/', ''), name, also };
  });
}

/** Speaks the text with what `-v` takes. `wordsPerMinute` 80 to 450. */
export async function synthesise(text: string, voice: string, wordsPerMinute: number, pitch: number): Promise<Speech> {
  const espeak = await load();
  const run = await espeak({
    // From a file: a text that begins with a dash would be read as an option.
    arguments: [
      '-v',
      voice,
      '-s',
      String(wordsPerMinute),
      '-p',
      String(pitch),
      '-b',
      '1',
      '-w',
      'speech.wav',
      '-f',
      'speech.txt',
    ],
    preRun: [({ FS }) => FS.writeFile('speech.txt', text)],
    print: () => {},
    printErr: () => {},
  });
  const wav = Buffer.from(run.FS.readFile('speech.wav'));
  return { samples: wav.subarray(44), sampleRate: wav.readUInt32LE(24) };
}

async function load(): Promise<Espeak> {
  // Optional and without types; a name that is no literal keeps the compiler from asking for it.
  const name = 'espeak-ng';
  try {
    return (await import(name)).default;
  } catch (cause) {
    throw new MissingPiece('the package espeak-ng is not installed (npm install espeak-ng)', { cause });
  }
}
