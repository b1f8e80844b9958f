import { AdapterFailure, defineAdapter, type Handle } from 'atelier/adapter';
import { lookAtVideo, start, type VideoHandle } from './call.ts';
import { type Config, config, hostsOf, privateHostsOf, secretNames } from './config.ts';
import { modelsOf } from './models.ts';
import { image, text, video, voice } from './transform.ts';

/** @throws AdapterFailure for a handle of a later release. */
function own(handle: Handle): VideoHandle {
  if (handle.v === 1) return handle as VideoHandle;
  throw new AdapterFailure({ class: 'bug', code: 'UNKNOWN_HANDLE', message: `a handle of version ${handle.v}` });
}

/** A bridge to the AI SDK: any `@ai-sdk/*` package that the operator has installed and named. */
export default defineAdapter<Config>({
  name: 'ai-sdk',
  contract: 1,
  version: '1.0.0',
  title: 'AI SDK (any installed provider package)',
  website: 'https://ai-sdk.dev',
  secrets: Object.fromEntries(
    secretNames.map((name) => [
      name,
      { title: 'Key of a provider package, where the configuration names it', required: false },
    ]),
  ),
  config,
  hosts: hostsOf,
  privateHosts: privateHostsOf,
  runs: 'vendor',
  resubmit: 'never',
  streams: true,
  startTimeoutMs: 300_000,
  files: 'dataUri',
  models: modelsOf,
  transformers: {
    generate_image: image,
    generate_character_voice: voice,
    generate_text: text,
    generate_video: video,
  },
  start,
  poll: (handle, context) => lookAtVideo(own(handle), context),
});
