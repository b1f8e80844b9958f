import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HttpFailure, NetworkFailure } from 'atelier/adapter';
import { checkAdapter, readFixtures, requirePassed } from 'atelier/adapter/testing';
import { describe, expect, it } from 'vitest';
import { builtInTaskTypes } from '../../src/task-types/index.ts';
import adapter from './adapter.ts';

const checks = await checkAdapter(adapter, {
  fixtures: readFixtures(new URL('./fixtures/', import.meta.url)),
  taskTypes: builtInTaskTypes,
});

describe('conformance', () => {
  it.each(checks)('$name', (check) => requirePassed(check));
});

describe('classify', () => {
  it.each([
    [500, { status: 'quota_exceeded' }, 'ambiguous', undefined],
    [503, { status: 'system_busy' }, 'ambiguous', undefined],
    [429, { status: 'too_many_concurrent_requests' }, 'rate_limited', undefined],
    [401, { status: 'detected_unusual_activity' }, 'authentication', undefined],
    [400, { code: 'a_new_word', status: 'voice_not_found', message: 'No.' }, 'invalid_input', 'voice'],
    [422, [{ loc: ['body', 'text'], msg: 'Field required' }], 'invalid_input', undefined],
    [404, 'Not Found', 'permanent', undefined],
  ])('takes %i %j for %s', (status, detail, className, field) => {
    const body = JSON.stringify({ detail });
    const facts = adapter.classify!(new HttpFailure('POST x', { status, headers: new Headers(), body }), 'start');
    expect(facts).toMatchObject({ class: className });
    expect(facts?.issues?.[0]?.path[0]).toBe(field);
  });
});

it('takes a recording of 100 MiB that was paid for, as a file', async () => {
  const sizeBytes = 100 * 1024 * 1024;
  const config = adapter.config!.parse({});
  const input = { text: 'x'.repeat(10_000), speed: 0.7, options: { format: 'wav_48000' } };
  const { request } = adapter.transformers.generate_character_voice!.toProvider(input, 'eleven_multilingual_v2', {
    config,
    attemptKey: 'key',
    files: {},
  });
  const fetch = async (_: string, { maxBytes = 0 }) => {
    if (sizeBytes > maxBytes) throw new NetworkFailure(`larger than ${maxBytes}`, { sent: 'maybe' });
    const body = (async function* () {
      const piece = Buffer.alloc(1024 * 1024);
      for (let size = 0; size < sizeBytes; size += piece.length) yield piece;
    })();
    return { headers: new Headers({ 'content-type': 'audio/wav' }), body };
  };
  const directory = await mkdtemp(join(tmpdir(), 'atelier-elevenlabs-'));
  try {
    const started: any = await adapter.start(request, { config, secrets: {}, fetch, directory } as any);
    expect((await stat(started.answer.file)).size).toBe(sizeBytes);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
