import { text, transform } from '../pipeline-kit.ts';
import type { Chance } from './seeded.ts';

const asks = (options: string) => ({ task: { prompt: 'x', maxTokens: 50, options } });
const sendBack = (to: string, atMost: number) => ({
  data: undefined,
  sendBack: { to, unless: 'json.passes', note: 'json.note', atMost },
});
const review = (key: string, input: string, onTimeout: string) => ({
  key,
  title: key,
  kind: 'REVIEW',
  input,
  timeoutSeconds: 1,
  onTimeout,
});

/** The stages of each version of the pipelines: some come and go. All take words. */
export const pipelines: Record<string, (version: number) => object[]> = {
  poems: (version) => [
    transform('unique_texts', 'word', 'word'),
    text('ideas', 'word', 'idea', {
      ...asks('{{item.split}}'),
      each: 'json.list',
      data: { text: '{{word.text}}', write: '{{word.write}}', judge: '{{word.judge}}' },
    }),
    text('writer', 'idea', 'poem', {
      ...asks('{{item.write}}'),
      data: { text: '{{idea.text}}', options: '{{idea.judge}}' },
    }),
    text('critic', 'poem', 'poem', { ...sendBack('writer', 2), batchSize: 1 + (version % 2) }),
    review(version % 3 === 2 ? 'second_look' : 'look', 'poem', version % 2 ? 'REJECT' : 'APPROVE'),
    text('titles', 'poem', 'title', { batchSize: 2 }),
    { key: 'facts', title: 'Facts', kind: 'RETRIEVE', input: 'title', query: '{{title.text}}' },
  ],
  songs: (version) => [
    text('polish', 'word', 'word', {
      ...asks('{{item.write}}'),
      data: { text: '{{word.text}}', write: '{{word.write}}', judge: '{{word.judge}}' },
    }),
    review('gate', 'word', 'APPROVE'),
    text('judge', 'word', 'word', {
      ...asks('{{item.judge}}'),
      ...sendBack('polish', 1),
      batchSize: 1 + (version % 2),
    }),
    text('second_judge', 'word', 'word', { ...asks('{{item.judge}}'), ...sendBack('polish', 2) }),
    text(version % 2 ? 'tunes' : 'songs', 'word', 'song', asks('{{item.write}}')),
  ],
  trees: (version) => [
    text('root', 'word', 'leaf', { ...asks('{{item.write}}'), batchSize: 2 }),
    text('left', 'leaf', 'left_leaf', { from: 'root' }),
    ...(version % 2 ? [] : [text('right', 'leaf', 'right_leaf', { from: 'root' })]),
  ],
};
/** Of which some fail, some are sent back, and some take long. */
export function word(chance: Chance): object {
  const options = (failing: number) => ({
    durationMs: chance.pick([0, 0, 50, 300]),
    ...(chance.is(failing) && { fail: {} }),
  });
  return {
    text: chance.is(0.1) ? 'same' : `word ${chance.below(1_000_000)}`,
    split: { ...options(0.05), json: { list: Array.from({ length: chance.pick([0, 1, 1, 2]) }, (_, n) => ({ n })) } },
    write: options(0.1),
    judge: { ...options(0.05), json: { passes: chance.is(0.5), note: 'shorter' } },
  };
}
