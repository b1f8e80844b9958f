// The entry of the engine's process: takes one request from its parent, works, reports, ends. Whatever it loads is
// loaded by need, so that a text does not wait for a canvas.
import { setPriority } from 'node:os';
import type { AnimationRequest } from '../animation.ts';
import type { AudioRequest } from '../audio.ts';
import type { ImageRequest } from '../image.ts';
import type { PromptRequest } from '../prompt.ts';
import type { TextRequest } from '../text.ts';
import type { VideoRequest } from '../video.ts';
import type { VoiceRequest } from '../voice.ts';
import { InputRefusal, MissingPiece } from './refusal.ts';
import type { Work } from './work.ts';

export type Request =
  | ImageRequest
  | VideoRequest
  | VoiceRequest
  | AudioRequest
  | AnimationRequest
  | TextRequest
  | PromptRequest;

/** What the process tells its parent; `done`, `refused` or `missing` is the last. */
export type Report =
  | { state: 'progress'; fraction: number; step?: string }
  | { state: 'log'; level: 'INFO' | 'WARN'; message: string }
  | { state: 'done'; answer: unknown }
  | { state: 'refused'; message: string; issues: { path: string[]; message: string }[] }
  | { state: 'missing'; message: string };

function perform(request: Request, work: Work): Promise<unknown> {
  switch (request.work) {
    case 'image':
      return import('./image.ts').then((module) => module.makeImages(request, work));
    case 'video':
      return import('./video.ts').then((module) => module.makeVideo(request, work));
    case 'voice':
      return import('./voice.ts').then((module) => module.speak(request, work));
    case 'audio':
      return import('./audio.ts').then((module) => module.processAudio(request, work));
    case 'animation':
      return import('./animation.ts').then((module) => module.animate(request, work));
    case 'text':
      return import('./text.ts').then((module) => module.answerText(request));
    case 'prompt':
      return import('./prompt.ts').then((module) => module.answerPrompt(request));
  }
}

function report(message: Report): Promise<void> {
  return new Promise((resolve) => process.send!(message, () => resolve()));
}

function outcomeOf(error: unknown): Report {
  if (error instanceof InputRefusal) return { state: 'refused', message: error.message, issues: error.issues };
  if (error instanceof MissingPiece) return { state: 'missing', message: error.message };
  throw error;
}

// Without a parent nobody waits for the answer: take ffmpeg along.
process.once('disconnect', () => process.kill(process.platform === 'win32' ? process.pid : -process.pid, 'SIGKILL'));
try {
  // The worker beside it renews leases and must not wait for pixels.
  setPriority(10);
} catch {
  // Some sandboxes forbid it; the work goes on at the usual priority.
}
process.once('message', async (request: Request) => {
  let shown = -1;
  const work: Work = {
    directory: process.cwd(),
    progress(fraction, step) {
      if (fraction - shown < 0.005 && fraction < 1) return;
      shown = fraction;
      void report({ state: 'progress', fraction, step });
    },
    log: (level, message) => void report({ state: 'log', level, message }),
  };
  const answer = await perform(request, work).then((value): Report => ({ state: 'done', answer: value }), outcomeOf);
  await report(answer);
  process.exit(0);
});
