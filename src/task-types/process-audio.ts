import { defineTaskType, fields, z } from '../sdk/index.ts';

const maxSources = 16;

export const processAudio = defineTaskType({
  name: 'process_audio',
  description: 'Mixes, joins, levels, trims or converts recordings.',
  lane: 'cpu_intensive',
  longestRunSeconds: 2 * 60,
  input: z.object({
    operation: fields
      .enumeration('AudioOperation', ['MIX', 'CONCATENATE', 'NORMALIZE', 'TRIM_SILENCE', 'CONVERT'])
      .describe('MIX plays all sources at once, CONCATENATE one after the other; the others take exactly one source.'),
    sources: fields
      .urls(maxSources)
      .optional()
      .describe('http(s) URLs of recordings; at most 16, together with sourceAssetIds.'),
    sourceAssetIds: fields
      .assetIds(maxSources)
      .optional()
      .describe('Assets as recordings, after the URLs; at most 16 together.'),
    targetLoudnessLufs: z
      .number()
      .min(-70)
      .max(-5)
      .default(-16)
      .describe('Integrated loudness of the result of MIX, CONCATENATE and NORMALIZE, LUFS, -70 to -5.'),
    options: fields.options(),
  }),
  result: z.object({
    audio: fields.asset().describe('The recording.'),
    durationSeconds: z.number().describe('Length of the recording in seconds.'),
  }),
  files: [{ urls: 'sources', assetIds: 'sourceAssetIds', kinds: ['AUDIO', 'VIDEO'], maxCount: maxSources }],
  check: (input) => {
    const count = (input.sources?.length ?? 0) + (input.sourceAssetIds?.length ?? 0);
    const joins = input.operation === 'MIX' || input.operation === 'CONCATENATE';
    if (count === 0)
      return [{ path: ['sources'], message: 'give at least one recording in sources or sourceAssetIds' }];
    if (!joins && count > 1)
      return [{ path: ['sources'], message: `${input.operation} takes exactly one recording, not ${count}` }];
    return [];
  },
  estimate: () => [{ unit: 'operation', quantity: 1 }],
  prices: [{ unit: 'operation', creditsPerUnit: '2' }],
});
