import { defineAdapter, isAdapterFailure } from 'atelier/adapter';
import { animation, animationOptions } from './animation.ts';
import { audio, audioOptions } from './audio.ts';
import { EngineFailure, runEngine } from './engine.ts';
import { image, imageOptions } from './image.ts';
import { prompt } from './prompt.ts';
import { text, textOptions } from './text.ts';
import { video, videoOptions } from './video.ts';
import { voice, voiceOptions } from './voice.ts';

/** The local engine: it draws, films, speaks and mixes on this machine, without an account. No generative model is in it. */
export default defineAdapter({
  name: 'local',
  contract: 1,
  version: '1.0.0',
  title: 'Local engine (composes on this machine; not a generative model)',
  runs: 'here',
  resubmit: 'safe',
  files: 'path',
  models: [
    { id: 'compose-1', taskTypes: ['generate_image'], options: imageOptions, typicalMs: 1_000 },
    { id: 'storyboard-1', taskTypes: ['generate_video'], options: videoOptions, typicalMs: 6_000 },
    { id: 'espeak-1', taskTypes: ['generate_character_voice'], options: voiceOptions, typicalMs: 1_000 },
    { id: 'ffmpeg-1', taskTypes: ['process_audio'], options: audioOptions, typicalMs: 2_000 },
    { id: 'frames-1', taskTypes: ['render_animation'], options: animationOptions, typicalMs: 3_000 },
    { id: 'template-1', taskTypes: ['generate_text', 'test_prompt'], options: textOptions, typicalMs: 500 },
  ],
  transformers: {
    generate_image: image,
    generate_video: video,
    generate_character_voice: voice,
    process_audio: audio,
    render_animation: animation,
    generate_text: text,
    test_prompt: prompt,
  },
  start: async (request, context) => ({ answer: await runEngine(request, context) }),
  classify(error) {
    if (isAdapterFailure(error)) return error.facts;
    // Killed from outside, most often for want of memory: another try may find more.
    if (error instanceof EngineFailure && error.signal)
      return { class: 'retryable', code: 'ENGINE_KILLED', message: error.message };
    const code = (error as NodeJS.ErrnoException | null)?.code;
    if (code === 'EAGAIN' || code === 'ENOMEM' || code === 'EMFILE') {
      return { class: 'retryable', code: 'MACHINE_BUSY', message: `starting the engine: ${code}` };
    }
    return undefined;
  },
});
