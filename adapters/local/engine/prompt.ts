import type { PromptAnswer, PromptRequest } from '../prompt.ts';
import { composeText } from './text.ts';

/** Composes an answer to the filled template; what it is judged by goes through as it came. */
export async function answerPrompt({ rendered, missing, expectations }: PromptRequest): Promise<PromptAnswer> {
  return { rendered, missing, expectations, text: composeText(rendered, 1024) };
}
