import {
  checkExpectations,
  fillTemplate,
  judgeExpectations,
  type PayloadTransformer,
  type TaskTypes,
} from 'atelier/adapter';

export interface PromptRequest {
  work: 'prompt';
  rendered: string;
  missing: string[];
  expectations: string[];
}

export interface PromptAnswer extends Omit<PromptRequest, 'work'> {
  text: string;
}

type Type = TaskTypes['test_prompt'];

export const prompt: PayloadTransformer<Type['input'], Type['result'], PromptRequest, PromptAnswer> = {
  toProvider(input) {
    const filled = fillTemplate(input.template, input.variables);
    const expectations = input.expectations ?? [];
    // What is no regular expression is refused when the task is created.
    checkExpectations(expectations);
    return {
      request: { work: 'prompt', ...filled, expectations },
      warnings: input.system ? ['system is not followed by the local engine, which is no language model'] : [],
    };
  },
  fromProvider({ rendered, missing, expectations, text }) {
    const judged = judgeExpectations(expectations, text, 'nothing');
    const passed = missing.length === 0 && judged.every((each) => each.passed);
    return {
      outputs: [],
      result: { rendered, text, passed, missingVariables: missing, expectations: judged },
      usage: [{ unit: 'run', quantity: 1 }],
    };
  },
};
