import {
  checkExpectations,
  fillTemplate,
  judgeExpectations,
  type PayloadTransformer,
  type TaskTypes,
  type Usage,
} from 'atelier/adapter';
import type { OpenAiConfig } from './config.ts';
import { findModel } from './models.ts';
import { type ChatAnswer, type ChatRequest, chatBody, checkAnswer, messages } from './text.ts';

type Type = TaskTypes['test_prompt'];

interface Kept {
  rendered: string;
  missing: string[];
  expectations: string[];
}

const oneRun: Usage[] = [{ unit: 'run', quantity: 1 }];

export const prompt: PayloadTransformer<
  Type['input'],
  Type['result'],
  ChatRequest<Kept>,
  ChatAnswer<Kept>,
  OpenAiConfig
> = {
  toProvider(input, id, { config }) {
    const { rendered, missing } = fillTemplate(input.template, input.variables);
    const expectations = input.expectations ?? [];
    // What is no regular expression is refused before anything is bought.
    checkExpectations(expectations);
    const body = chatBody(findModel(id, config), config, {
      messages: messages(rendered, input.system),
      maxTokens: config.limits.testPromptTokens,
      options: input.options ?? {},
    });
    return { request: { work: 'chat', body, kept: { rendered, missing, expectations } }, warnings: [] };
  },
  fromProvider(answer) {
    checkAnswer(answer, oneRun);
    const { rendered, missing, expectations } = answer.kept;
    const judged = judgeExpectations(expectations, answer.text, oneRun);
    const passed = missing.length === 0 && judged.every((each) => each.passed);
    return {
      outputs: [],
      result: { rendered, text: answer.text, passed, missingVariables: missing, expectations: judged },
      usage: oneRun,
    };
  },
};
