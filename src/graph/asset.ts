import type { Asset } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { signAsset } from '../lifecycle/assets.ts';
import { completeUpload, createUpload } from '../lifecycle/uploads.ts';
import { type GraphContext, requireScope } from './context.ts';
import { badRequest } from './error.ts';
import type { Graph } from './graph.ts';
import { projectOf } from './narrow.ts';
import { resultUnion } from './result.ts';

/** S3 signs for seven days at most. */
const longestUrlSeconds = 7 * 86_400;

/** One of the caller's assets, or null; for a narrowed client token, those of its tasks or project only. */
export async function findAsset(context: GraphContext, id: string): Promise<Asset | null> {
  requireScope(context, 'tasks:read');
  const { core, caller } = context;
  const uuid = fromId('Asset', id);
  if (!uuid) return null;
  const asset = await core.db.prisma.asset.findFirst({ where: { id: uuid, accountId: caller.accountId } });
  if (asset && caller.only?.projectId && asset.projectId !== caller.only.projectId) return null;
  if (asset && caller.only?.taskIds && !caller.only.taskIds.includes(asset.taskId ?? '')) return null;
  return asset;
}

/** Asset, `createUpload`, `completeUpload`. */
export function addAsset(graph: Graph): void {
  const { builder, Node } = graph;
  const AssetKind = builder.enumType('AssetKind', {
    description: 'What a file is, told from its bytes.',
    values: ['IMAGE', 'VIDEO', 'AUDIO', 'TEXT', 'OTHER'] as const,
  });
  const Asset = builder.prismaObject('Asset', {
    description: 'A stored file that a task gave out or a client uploaded.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the asset.', resolve: (asset) => toId('Asset', asset.id) }),
      kind: t.field({
        type: AssetKind,
        description: 'What it is, told from its bytes.',
        resolve: (asset) => asset.kind as never,
      }),
      contentType: t.exposeString('contentType', { description: 'As "image/png".' }),
      sizeBytes: t.expose('sizeBytes', { type: 'SafeInt', description: 'Its size in bytes.' }),
      sha256: t.exposeString('sha256', { description: 'SHA-256 of its bytes, hexadecimal.' }),
      width: t.exposeInt('width', { nullable: true, description: 'Pixels, of images and videos.' }),
      height: t.exposeInt('height', { nullable: true, description: 'Pixels, of images and videos.' }),
      durationMs: t.expose('durationMs', {
        type: 'SafeInt',
        nullable: true,
        description: 'Milliseconds, of videos and recordings.',
      }),
      url: t.field({
        type: 'URL',
        description: 'Where anyone may get it until it expires; signed anew each time.',
        args: { expiresInSeconds: t.arg.int({ defaultValue: 900, description: 'Seconds, 1 to 604,800.' }) },
        resolve: (asset, args, { core }) => {
          const expiresInSeconds = args.expiresInSeconds ?? 900;
          if (expiresInSeconds < 1 || expiresInSeconds > longestUrlSeconds)
            throw badRequest(`expiresInSeconds must be from 1 to ${longestUrlSeconds}`);
          return signAsset(core, asset, expiresInSeconds);
        },
      }),
      expiresAt: t.expose('expiresAt', {
        type: 'DateTime',
        nullable: true,
        description: 'When the file is removed; null: not by itself.',
      }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was stored.' }),
    }),
  });
  addUploads(graph, Asset);
}

function addUploads(graph: Graph, AssetRef: any): void {
  const { builder } = graph;
  const Created = builder.objectRef<Awaited<ReturnType<typeof createUpload>>>('CreateUploadSuccess').implement({
    description: 'Send the bytes with exactly this method, URL and headers, then call completeUpload.',
    fields: (t) => ({
      id: t.exposeID('id', { description: 'Id of the upload, for completeUpload.' }),
      url: t.expose('url', { type: 'URL', description: 'Where the bytes go.' }),
      method: t.exposeString('method', { description: 'PUT.' }),
      headers: t.field({
        type: 'JSON',
        description: 'Headers to send, as an object.',
        resolve: (upload) => upload.headers,
      }),
      expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'Until when.' }),
    }),
  });
  const created = resultUnion(graph, 'CreateUploadResult', Created, ['ValidationError', 'NotFoundError']);
  const Completed = builder.objectRef<{ asset: Asset }>('CompleteUploadSuccess').implement({
    description: 'The bytes were checked.',
    fields: (t) => ({
      asset: t.field({
        type: AssetRef,
        description: 'The asset, for inputs that take asset ids.',
        resolve: ({ asset }) => asset as never,
      }),
    }),
  });
  const completed = resultUnion(graph, 'CompleteUploadResult', Completed, ['ValidationError', 'NotFoundError']);
  const Input = builder.inputType('CreateUploadInput', {
    description: 'A file to upload.',
    fields: (t) => ({
      contentType: t.string({ required: true, description: 'As "image/png". The bytes must agree.' }),
      sizeBytes: t.field({ type: 'SafeInt', required: true, description: 'Exactly how many bytes.' }),
      projectId: t.id({ description: "The project it belongs to. Default: the key's default project." }),
    }),
  });
  builder.mutationFields((t) => ({
    createUpload: t.field({
      type: created.ref,
      description: 'Asks for a presigned PUT of a file that tasks then can take in. Scope tasks:write.',
      args: { input: t.arg({ type: Input, required: true, description: 'The file.' }) },
      resolve: (_root, { input }, context) =>
        created.answer(context, ['tasks:write'], () => {
          const { contentType, sizeBytes } = input;
          return createUpload(context.core, context.caller, {
            contentType,
            sizeBytes,
            projectId: projectOf(context, input.projectId),
          });
        }),
    }),
    completeUpload: t.field({
      type: completed.ref,
      description:
        'Checks the uploaded bytes (size, kind) and makes them an asset. Again, it gives the same asset. Scope tasks:write.',
      args: { id: t.arg.id({ required: true, description: 'Id of the upload.' }) },
      resolve: (_root, { id }, context) =>
        completed.answer(context, ['tasks:write'], async () => {
          const uploadId = fromId('Upload', id);
          await requireOwnProject(context, uploadId);
          return { asset: await completeUpload(context.core, context.caller.accountId, uploadId) };
        }),
    }),
  }));
}

/** Throws for a client token that is narrowed to tasks, and for one that is narrowed to another project than the upload's. */
async function requireOwnProject(context: GraphContext, uploadId: string | null): Promise<void> {
  const projectId = projectOf(context, null);
  if (!uploadId || !projectId) return;
  const upload = await context.core.db.prisma.upload.findFirst({ where: { id: uploadId, projectId } });
  if (!upload) throw notFound('upload');
}
