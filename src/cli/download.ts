import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { call, type TaskFacts } from '../client.ts';
import { OutsideError } from '../errors.ts';

/** A file that a task gave, as it lies on this machine now. */
export interface Download {
  file: string;
  /** As "image/png, 512 × 512" or "audio/wav, 3.2 s". */
  facts: string;
}

/** What there is to store of a task, or of something else that has assets. */
type Results = Pick<TaskFacts, 'id' | 'assets' | 'textResult' | 'promptResult'>;

const extensions: { [contentType: string]: string } = {
  'image/png': 'png',
  'image/jpeg': 'jpg',
  'image/webp': 'webp',
  'image/gif': 'gif',
  'video/mp4': 'mp4',
  'video/webm': 'webm',
  'audio/wav': 'wav',
  'audio/x-wav': 'wav',
  'audio/vnd.wave': 'wav',
  'audio/mpeg': 'mp3',
  'audio/ogg': 'ogg',
  'audio/flac': 'flac',
  'audio/mp4': 'm4a',
  'text/plain': 'txt',
  'application/json': 'json',
};

/**
 * Stores everything that a task gave in `directory`: its assets by their signed URLs, and the texts of a result.
 * @throws OutsideError when an asset cannot be had.
 */
export async function downloadResults(task: Results, directory: string, name: string): Promise<Download[]> {
  await mkdir(directory, { recursive: true });
  const downloads: Download[] = [];
  for (const [index, asset] of task.assets.entries()) {
    const suffix = task.assets.length > 1 ? `-${index + 1}` : '';
    const file = join(directory, `${name}${suffix}.${extensions[asset.contentType] ?? 'bin'}`);
    const response = await call(asset.url);
    if (!response.ok || !response.body)
      throw new OutsideError(`downloading asset ${index + 1} of ${task.id}: HTTP ${response.status}`, {
        retryable: response.status >= 500,
      });
    await pipeline(
      Readable.fromWeb(response.body as import('node:stream/web').ReadableStream),
      createWriteStream(file),
    );
    const size = asset.width && asset.height ? `${asset.width} × ${asset.height}` : null;
    const duration = asset.durationMs === null ? null : `${(asset.durationMs / 1000).toFixed(1)} s`;
    downloads.push({ file, facts: [asset.contentType, size, duration].filter(Boolean).join(', ') });
  }
  for (const [extension, text] of texts(task)) {
    const file = join(directory, `${name}.${extension}`);
    await writeFile(file, `${text}\n`);
    downloads.push({ file, facts: `text, ${text.length} characters` });
  }
  return downloads;
}

function texts({ textResult, promptResult }: Results): [extension: string, text: string][] {
  const found: [string, string][] = [];
  if (textResult) found.push(['txt', textResult.text]);
  if (textResult?.json != null) found.push(['json', JSON.stringify(textResult.json, null, 2)]);
  if (promptResult) found.push(['json', JSON.stringify(promptResult, null, 2)]);
  return found;
}
