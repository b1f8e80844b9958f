import { defineTransform } from '../../sdk/index.ts';
import { fieldParameter, withTexts } from './text.ts';

/** Joined while the mean similarity of two clusters is at least this. */
const defaultSimilarity = 0.4;
const defaultSize = 8;

/** Puts texts that mean much the same together. */
export const clusterByMeaning = defineTransform({
  name: 'cluster_by_meaning',
  description:
    'Puts items whose `parameters.field` (default: text) means much the same into one: { name, keywords }. `similarity` 0 to 1 (default 0.4) and `size`, the most of one (default 8).',
  parameters: {
    type: 'object',
    properties: {
      field: fieldParameter,
      similarity: {
        type: 'number',
        minimum: 0,
        maximum: 1,
        description: `How near two clusters are in meaning that become one, 0 to 1. Default: ${defaultSimilarity}.`,
      },
      size: { type: 'integer', minimum: 1, description: `The most items of one. Default: ${defaultSize}.` },
    },
    additionalProperties: false,
  },
  async apply(items, { embed, parameters, signal }) {
    const { field = 'text', similarity = defaultSimilarity, size = defaultSize } = parameters;
    const { taken, rejected } = withTexts(items, field);
    const texts = taken.map(({ text }) => text);
    const vectors = await embed(texts);
    signal.throwIfAborted();
    return {
      items: join(vectors, similarity, size).map((members) => {
        const centre = members.toSorted((a, b) => nearness(vectors, members, b) - nearness(vectors, members, a))[0]!;
        return {
          data: { name: texts[centre]!, keywords: members.map((index) => texts[index]!) },
          from: members.map((index) => taken[index]!.id),
        };
      }),
      rejected,
    };
  },
});

/** Each joins the first cluster whose mean it is near enough to and that has room, the nearest first. */
function join(vectors: number[][], similarity: number, size: number): number[][] {
  const clusters: { members: number[]; sum: number[]; length: number }[] = [];
  for (const [index, vector] of vectors.entries()) {
    const [nearest] = clusters
      .filter(({ members }) => members.length < size)
      .map((cluster) => ({ cluster, near: dot(vector, cluster.sum) / cluster.length }))
      .filter(({ near }) => near >= similarity)
      .sort((a, b) => b.near - a.near);
    const members = nearest ? [...nearest.cluster.members, index] : [index];
    const sum = nearest ? nearest.cluster.sum.map((value, place) => value + vector[place]!) : vector;
    const joined = { members, sum, length: Math.sqrt(dot(sum, sum)) || 1 };
    if (nearest) clusters[clusters.indexOf(nearest.cluster)] = joined;
    else clusters.push(joined);
  }
  return clusters.map(({ members }) => members);
}

/** A plain loop: a thousand texts are compared some hundred thousand times. */
function dot(a: number[], b: number[]): number {
  let sum = 0;
  for (let place = 0; place < a.length; place++) sum += a[place]! * b[place]!;
  return sum;
}
const nearness = (vectors: number[][], members: number[], index: number): number =>
  members.reduce((sum, other) => sum + dot(vectors[index]!, vectors[other]!), 0);
