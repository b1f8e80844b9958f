import type { Config } from '../config.ts';
import { openDirectory } from './directory.ts';
import { openS3 } from './s3.ts';
import type { Storage } from './storage.ts';

/**
 * The storage that the configuration names: S3 when there is a bucket, else a directory.
 * @param options.publicUrl where clients reach the API; asked at each signing, as the port may be known only later.
 * @param options.secret signs the URLs of a directory; the same for all processes.
 */
export function openStorage(config: Config, options: { publicUrl(): string; secret: string }): Storage {
  if (config.S3_BUCKET) return openS3(config, config.S3_BUCKET);
  return openDirectory(config.ATELIER_STORAGE_DIRECTORY, { ...options, corsOrigins: config.ATELIER_CORS_ORIGINS });
}
