import type { PayloadTransformer, TaskTypes } from 'atelier/adapter';

export interface PromptRequest {
  work: 'prompt';
  template: string;
  variables: Record<string, unknown>;
  expectations: string[];
}

type Type = TaskTypes['test_prompt'];

/** All of the task type's result: the engine's answer is already in its shape. */
export type PromptAnswer = Type['result'];

export const prompt: PayloadTransformer<Type['input'], Type['result'], PromptRequest, PromptAnswer> = {
  toProvider: (input) => ({
    request: {
      work: 'prompt',
      template: input.template,
      variables: (input.variables ?? {}) as Record<string, unknown>,
      expectations: input.expectations ?? [],
    },
    warnings: input.system ? ['system is not followed by the local engine, which is no language model'] : [],
  }),
  fromProvider: (answer) => ({ outputs: [], result: answer, usage: [{ unit: 'run', quantity: 1 }] }),
};
