import { setTimeout as wait } from 'node:timers/promises';
import type { ProgressBoard } from '../cli/progress.ts';
import type { Client } from '../client.ts';
import { ask } from './ask.ts';

/** Paused once, to be seen: when so many articles are written, for so long. */
const pausedAfter = 3;
const pausedForMs = 2_000;
const pageSize = 100;

const words: Record<string, string> = {
  RUNNING: 'running',
  PAUSING: 'pausing: what is begun ends first',
  PAUSED: 'paused; goes on in two seconds',
  WAITING_FOR_REVIEW: 'waits for review: all is approved',
};

/** Follows a run to its end; pauses and resumes it once, and approves what waits for a review. @param keys of its stages. */
export async function watchRun(
  client: Client,
  { id, projectId, keys }: { id: string; projectId: string; keys: string[] },
  board: ProgressBoard,
): Promise<void> {
  const whole = board.add('run');
  const lines = new Map(keys.map((key) => [key, board.add(key)]));
  const fractions = new Map(keys.map((key) => [key, 0]));
  const newest = new Map<string, string>();
  let note = '';
  let isPaused = false;
  for await (const { stage, stageKey, item, status, reason } of client.runEvents(id)) {
    if (stageKey && item) newest.set(stageKey, titleOf(item.data));
    if (stage) {
      const { key, waiting, running, done, failed } = stage;
      const all = waiting + running + done + failed;
      const isOver = stage.status !== 'PENDING' && done + failed === all;
      const counts = `${done} of ${all}${failed ? `, ${failed} failed` : ''}`;
      fractions.set(key, isOver ? 1 : (done + failed) / Math.max(1, all));
      const title = newest.get(key);
      lines.get(key)?.update(fractions.get(key)!, title && !isOver ? `${counts}: ${title}` : counts);
      if (key === 'articles' && done >= pausedAfter && !isPaused) {
        isPaused = true;
        await ask(client, pauseRun, { id });
      }
    }
    if (status) note = `${words[status] ?? status.toLowerCase()}${reason ? `, ${reason}` : ''}`;
    const sum = [...fractions.values()].reduce((total, each) => total + each, 0);
    whole.update(status === 'COMPLETED' ? 1 : sum / keys.length, note);
    if (status === 'PAUSED') {
      await wait(pausedForMs);
      await ask(client, resumeRun, { id });
    }
    if (status === 'WAITING_FOR_REVIEW') await approveAll(client, projectId);
  }
}

/** What an item is called, whatever it is. */
const titleOf = (data: any): string => String(data?.title ?? data?.name ?? data?.text ?? '');

async function approveAll(client: Client, projectId: string): Promise<void> {
  for (;;) {
    const { reviews } = await client.request(readReviews, { project: projectId, first: pageSize });
    if (reviews.nodes.length === 0) return;
    for (const { id } of reviews.nodes) await ask(client, decideReview, { id });
  }
}

const runResult = '... on RunSuccess { run { id status } } ... on UserError { code message }';
const pauseRun = `mutation ($id: ID!) { pauseRun(id: $id) { ${runResult} } }`;
const resumeRun = `mutation ($id: ID!) { resumeRun(id: $id) { ${runResult} } }`;
const readReviews = `query ($project: ID!, $first: Int) { reviews(projectId: $project, first: $first) { nodes { id } } }`;
const decideReview = `mutation ($id: ID!) {
  decideReview(id: $id, decision: APPROVE) {
    ... on DecideReviewSuccess { review { id } } ... on UserError { code message }
  }
}`;
