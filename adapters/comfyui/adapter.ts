import { AdapterFailure, defineAdapter, type Handle } from 'atelier/adapter';
import { type Config, config } from './config.ts';
import { follow } from './follow.ts';
import { modelsOf } from './models.ts';
import { type ComfyHandle, enqueue, find, look, stop, upload } from './server.ts';
import { animation, type ComfyRequest, image, video } from './transform.ts';

/** @throws AdapterFailure for a handle of a later release. */
function own(handle: Handle): ComfyHandle {
  if (handle.v === 1) return handle as ComfyHandle;
  throw new AdapterFailure({ class: 'bug', code: 'UNKNOWN_HANDLE', message: `a handle of version ${handle.v}` });
}

/** A ComfyUI server of the house: each workflow that the operator names is a model. */
export default defineAdapter<Config>({
  name: 'comfyui',
  contract: 1,
  version: '1.0.0',
  title: 'ComfyUI (a GPU server of your own)',
  website: 'https://www.comfy.org',
  secrets: {
    COMFYUI_AUTHORIZATION: {
      title: 'Value of the Authorization header, where a proxy in front of ComfyUI wants one',
      required: false,
    },
  },
  config,
  hosts: ({ baseUrl }) => [new URL(baseUrl).host],
  privateHosts: ({ baseUrl }) => [new URL(baseUrl).host],
  runs: 'here',
  // It costs electricity and nothing else.
  resubmit: 'safe',
  files: 'upload',
  startTimeoutMs: 30_000,
  models: ({ config }) => modelsOf(config),
  transformers: { generate_image: image, generate_video: video, render_animation: animation },
  start: async (request: ComfyRequest, context) => ({ handle: await enqueue(request, context) }),
  poll: (handle, context) => look(own(handle), context),
  follow: (handle, context) => follow(own(handle), context),
  async cancel(handle, context) {
    await stop(own(handle), context);
    const { state } = await look(own(handle), context);
    if (state === 'queued' || state === 'running') return 'requested';
    return state === 'succeeded' ? 'too_late' : 'cancelled';
  },
  find: (attemptKey, _since, context) => find(attemptKey, context),
  upload,
});
