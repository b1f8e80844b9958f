import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { Config } from '../config.ts';
import { OutsideError } from '../errors.ts';
import { disposition } from './disposition.ts';
import type { Storage } from './storage.ts';

const partBytes = 8 * 1024 * 1024;
/** S3 takes at most 10,000 parts. */
const maxParts = 10_000;

/** A bucket on AWS or on any S3-compatible server. */
export function openS3(config: Config, bucket: string): Storage {
  // Which Node releases this works with is said by our own package.json; the SDK would warn of its future ones on stderr.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const connect = (endpoint: string | undefined) =>
    new S3Client({
      region: config.S3_REGION,
      endpoint,
      forcePathStyle: config.S3_FORCE_PATH_STYLE,
      credentials:
        config.S3_ACCESS_KEY_ID && config.S3_SECRET_ACCESS_KEY
          ? { accessKeyId: config.S3_ACCESS_KEY_ID, secretAccessKey: config.S3_SECRET_ACCESS_KEY }
          : undefined,
      // Compatible servers store the SDK's checksum trailers as part of the file, or refuse them.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      maxAttempts: 3,
      requestHandler: {
        connectionTimeout: 5_000,
        requestTimeout: 60_000,
        throwOnRequestTimeout: true,
        socketTimeout: 60_000,
      },
    });
  const client = connect(config.S3_ENDPOINT);
  // A signature covers the host, so URLs for clients are signed for the host that clients see.
  const publicClient = config.S3_PUBLIC_ENDPOINT ? connect(config.S3_PUBLIC_ENDPOINT) : client;
  const at = (key: string) => ({ Bucket: bucket, Key: key });

  return {
    async put(key, file, { contentType, sizeBytes }) {
      const params = { ...at(key), ContentType: contentType };
      if (sizeBytes <= partBytes) {
        // From memory, as the SDK cannot send a stream again when the first try fails.
        const body = await readFile(file);
        await tried(`storing ${key}`, () =>
          client.send(new PutObjectCommand({ ...params, Body: body, ContentLength: body.length })),
        );
        return;
      }
      const partSize = Math.max(partBytes, Math.ceil(sizeBytes / maxParts));
      const body = createReadStream(file, { highWaterMark: 1024 * 1024 });
      await tried(`storing ${key}`, () =>
        new Upload({ client, params: { ...params, Body: body }, partSize, queueSize: 2 }).done(),
      );
    },
    async get(key) {
      const answer = await tried(`reading ${key}`, () => client.send(new GetObjectCommand(at(key))));
      return answer.Body as Readable;
    },
    async head(key) {
      try {
        const answer = await client.send(new HeadObjectCommand(at(key)));
        return { sizeBytes: answer.ContentLength ?? 0, contentType: answer.ContentType };
      } catch (error) {
        if (statusOf(error) === 404) return null;
        throw outside(`looking at ${key}`, error);
      }
    },
    async remove(key) {
      await tried(`removing ${key}`, () => client.send(new DeleteObjectCommand(at(key)))).catch((error) => {
        if (statusOf(error.cause) !== 404) throw error;
      });
    },
    signGet(key, { expiresInSeconds, contentType, fileName }) {
      const command = new GetObjectCommand({
        ...at(key),
        ResponseContentType: contentType,
        ResponseContentDisposition: disposition(contentType, fileName),
      });
      return getSignedUrl(publicClient, command, { expiresIn: expiresInSeconds });
    },
    async signPut(key, { expiresInSeconds, contentType, sizeBytes }) {
      const command = new PutObjectCommand({ ...at(key), ContentType: contentType, ContentLength: sizeBytes });
      const signableHeaders = new Set(['content-type', 'content-length', 'host']);
      const url = await getSignedUrl(publicClient, command, { expiresIn: expiresInSeconds, signableHeaders });
      return { url, method: 'PUT', headers: { 'Content-Type': contentType } };
    },
    async check() {
      await tried(`asking for the bucket ${bucket}`, () => client.send(new HeadBucketCommand({ Bucket: bucket })));
    },
    async close() {
      client.destroy();
      publicClient.destroy();
    },
  };
}

async function tried<Answer>(what: string, call: () => Promise<Answer>): Promise<Answer> {
  try {
    return await call();
  } catch (error) {
    throw outside(what, error);
  }
}

function outside(what: string, cause: unknown): OutsideError {
  const status = statusOf(cause);
  const refused = status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 429;
  const reason =
    cause instanceof Error ? `${cause.name}${status ? ` (${status})` : ''}: ${cause.message}` : String(cause);
  return new OutsideError(`${what}: ${reason}`, { retryable: !refused, cause });
}

const statusOf = (error: unknown): number | undefined =>
  error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
