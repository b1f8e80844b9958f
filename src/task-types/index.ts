import type { TaskInput, TaskResult, TaskType } from '../sdk/index.ts';
import { generateCharacterVoice } from './generate-character-voice.ts';
import { generateImage } from './generate-image.ts';
import { generateText } from './generate-text.ts';
import { generateVideo } from './generate-video.ts';
import { processAudio } from './process-audio.ts';
import { renderAnimation } from './render-animation.ts';
import { testPrompt } from './test-prompt.ts';

const builtIn = {
  generate_video: generateVideo,
  generate_image: generateImage,
  generate_character_voice: generateCharacterVoice,
  process_audio: processAudio,
  render_animation: renderAnimation,
  generate_text: generateText,
  test_prompt: testPrompt,
};

/** The task types that come with Atelier. A new one is one file in this folder and one line above. */
export const builtInTaskTypes: TaskType<any, any>[] = Object.values(builtIn);

/** Input and result of each, by name. */
export type BuiltInTaskTypes = {
  [Name in keyof typeof builtIn]: {
    input: TaskInput<(typeof builtIn)[Name]>;
    result: TaskResult<(typeof builtIn)[Name]>;
  };
};

declare module '../sdk/adapter.ts' {
  interface TaskTypes extends BuiltInTaskTypes {}
}
