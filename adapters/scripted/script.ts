import { failureClasses, z } from 'atelier/adapter';

const usage = z.strictObject({
  unit: z.string().max(40).describe('A unit of the task type, as "image" or "second".'),
  quantity: z.number().min(0).describe('How much of it.'),
});

/** How a task is to fail. */
const failure = z.strictObject({
  class: z
    .enum(failureClasses)
    .default('permanent')
    .describe(
      'What Atelier does about it: retryable and rate_limited are tried again, ambiguous waits for a review, the others end the task. Default: permanent.',
    ),
  code: z
    .string()
    .max(60)
    .regex(/^[A-Z][A-Z0-9_]*$/)
    .default('SCRIPTED')
    .describe('The `code` of the error, UPPER_SNAKE. Default: SCRIPTED.'),
  message: z.string().max(500).default('The script says so.').describe('Default: "The script says so."'),
  publicMessage: z.string().max(500).optional().describe("What clients read. Default: Atelier's own words."),
  when: z
    .enum(['start', 'end'])
    .default('start')
    .describe('`start`: the vendor refuses the job; `end`: the job fails when durationMs have passed. Default: start.'),
  times: z
    .int()
    .min(1)
    .max(1_000)
    .optional()
    .describe('Attempts of the task that fail before one succeeds. Default: all of them.'),
  retryAfterMs: z
    .int()
    .min(0)
    .max(3_600_000)
    .optional()
    .describe('When to try again. Milliseconds. Default: not said.'),
  billed: z.array(usage).max(10).optional().describe('What the vendor charges for the failure. Default: nothing.'),
});

/** What `options` may hold; the same for all task types. */
export const script = z.strictObject({
  durationMs: z
    .int()
    .min(0)
    .max(3_600_000)
    .default(0)
    .describe('How long the job takes, at least. Milliseconds; 0: the answer comes at once. Default: 0.'),
  steps: z
    .array(z.string().min(1).max(100))
    .max(20)
    .default([])
    .describe('Names of steps that follow each other, evenly, over durationMs. Default: none.'),
  logs: z.array(z.string().max(500)).max(100).default([]).describe("Lines for the task's log. Default: none."),
  text: z
    .string()
    .max(2_000)
    .default('The script is done.')
    .describe('The text that is made, at most 2,000 characters. Default: "The script is done."'),
  deltas: z
    .array(z.string().max(200))
    .max(100)
    .default([])
    .describe(
      'Pieces in which the text comes, streamed; together they stand for `text`. Not with durationMs. Default: none.',
    ),
  json: z.json().optional().describe('What generate_text gives as `json`. Default: nothing.'),
  passed: z.boolean().default(true).describe('Whether the expectations of test_prompt pass. Default: true.'),
  outputs: z
    .int()
    .min(0)
    .max(8)
    .optional()
    .describe('How many files are made, 0 to 8; 0 fails with NO_OUTPUT. Default: as many as the input asks for.'),
  preview: z.boolean().default(false).describe('Show the first file as a preview while the job runs. Default: false.'),
  fail: failure.optional().describe('Fail, and how. Default: succeed.'),
  cancel: z
    .enum(['cancelled', 'requested', 'too_late', 'unknown'])
    .default('cancelled')
    .describe('What the vendor answers to a cancel, while the job runs. Default: cancelled.'),
  usage: z
    .array(usage)
    .max(10)
    .optional()
    .describe(
      'What the vendor says that was used, which is what is charged. Default: it does not say; the quote is charged.',
    ),
  cost: z
    .strictObject({
      amount: z
        .string()
        .regex(/^\d+(\.\d+)?$/)
        .describe('A decimal, as "0.0032".'),
      currency: z.string().max(10).describe('ISO 4217, as USD.'),
    })
    .optional()
    .describe('What the vendor charges the operator. Default: it does not say.'),
});

export type Script = z.output<typeof script>;
