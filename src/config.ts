import { readFileSync } from 'node:fs';
import { closest, distance } from 'fastest-levenshtein';
import { z } from 'zod';
import { ConfigError } from './errors.ts';

const whole = (minimum: number, maximum: number) => z.coerce.number().int().min(minimum).max(maximum);
const list = z.string().transform((text) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean),
);
const flag = z.enum(['true', 'false', '1', '0']).transform((text) => text === 'true' || text === '1');

/** Every setting there is: name, what it may be, default. `*_FILE` beside any of them names a file that holds the value. */
const variables = {
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/ })
    .optional()
    .describe('Postgres, as postgresql://user:password@host:5432/name. Not set: `atelier start` runs a private one.'),
  REDIS_URL: z
    .url({ protocol: /^rediss?$/ })
    .optional()
    .describe('Redis or Valkey, as redis://host:6379/0. Not set: `atelier start` runs a private one.'),
  S3_BUCKET: z
    .string()
    .min(1)
    .optional()
    .describe('Bucket for assets. Not set: assets are kept in ATELIER_STORAGE_DIRECTORY.'),
  S3_ENDPOINT: z.url().optional().describe('For S3-compatible servers. Not set: AWS.'),
  S3_PUBLIC_ENDPOINT: z
    .url()
    .optional()
    .describe('The address under which clients reach the same server. Default: S3_ENDPOINT.'),
  S3_REGION: z.string().default('us-east-1').describe('Region of the bucket.'),
  S3_ACCESS_KEY_ID: z
    .string()
    .optional()
    .describe("Not set: the AWS SDK's own search (environment, profile, instance)."),
  S3_SECRET_ACCESS_KEY: z.string().optional().describe('Belongs to S3_ACCESS_KEY_ID.'),
  S3_FORCE_PATH_STYLE: flag.default(true).describe('true: endpoint/bucket/key; false: bucket.endpoint/key.'),
  ATELIER_STORAGE_DIRECTORY: z
    .string()
    .default('.atelier/assets')
    .describe('Where assets are kept without S3. API and worker must share it.'),
  ATELIER_HOST: z.string().default('127.0.0.1').describe('Address the API listens on.'),
  ATELIER_PORT: whole(0, 65535).default(4000).describe('Port the API listens on; 0 = any free one.'),
  ATELIER_WORKER_PORT: whole(0, 65535)
    .optional()
    .describe('Port on which a worker answers /healthz, /readyz and /metrics. Not set: none.'),
  ATELIER_PUBLIC_URL: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      'The address under which clients and vendors reach the API. Default: http://host:port, and no vendor is asked to call back.',
    ),
  ATELIER_SECRET: z
    .string()
    .min(32)
    .optional()
    .describe(
      'Signs client tokens and the URLs of a storage directory; at least 32 characters, the same for all processes. Required but for `atelier start` on embedded services.',
    ),
  ATELIER_CORS_ORIGINS: list
    .default([])
    .describe('Origins of browsers that may call, comma-separated; * = all. Default: none.'),
  ATELIER_GRAPHIQL: flag
    .optional()
    .describe('The GraphiQL page on /graphql. Default: on with embedded services, else off.'),
  ATELIER_ALLOWED_HOSTS: list
    .default([])
    .describe(
      'Private hosts that outbound requests may reach all the same, comma-separated, as media.internal or 127.0.0.1:9000.',
    ),
  ATELIER_PLUGINS: list
    .default([])
    .describe(
      'What brings more adapters and task types, comma-separated: names of packages, and paths as ./plugins/acme.',
    ),
  ATELIER_LANE_CONCURRENCY: z
    .string()
    .regex(/^[a-z0-9_]+=\d+(,[a-z0-9_]+=\d+)*$/, 'must look like gpu_heavy=2,gpu_medium=4')
    .default('gpu_heavy=1,gpu_medium=2,cpu_intensive=4')
    .describe('What a lane starts with; afterwards `setLane` rules.'),
  ATELIER_LONGEST_RUN_SECONDS: z
    .string()
    .regex(/^[a-z0-9_]+=\d+(,[a-z0-9_]+=\d+)*$/, 'must look like generate_video=1800')
    .optional()
    .describe("Longest run by task type, as generate_video=1800. Default: the task type's own."),
  ATELIER_MAX_ATTEMPTS: whole(1, 20).default(4).describe('Attempts at one provider for failures that may be retried.'),
  ATELIER_LEASE_SECONDS: whole(3, 300)
    .default(9)
    .describe('A worker that has not renewed its lease for so long has lost its tasks.'),
  ATELIER_DRAIN_SECONDS: whole(1, 3600)
    .default(120)
    .describe('How long a worker that is told to stop waits for a paid call that cannot be handed back.'),
  ATELIER_REVIEW_SECONDS: whole(60, 30 * 86400)
    .default(86400)
    .describe('How long a task waits for `reviewTask` before it fails and its credits are released.'),
  ATELIER_MAX_ASSET_MEGABYTES: whole(1, 100_000).default(2048).describe('The largest file that is taken in or stored.'),
  ATELIER_EMBEDDINGS_URL: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      'A server with the OpenAI API that embeds knowledge, as https://api.openai.com/v1; a private one also stands in ATELIER_ALLOWED_HOSTS. Not set: a local model for English.',
    ),
  ATELIER_EMBEDDINGS_KEY: z.string().optional().describe('The API key of that server. Not set: none is sent.'),
  ATELIER_EMBEDDINGS_MODEL: z
    .string()
    .min(1)
    .default('text-embedding-3-small')
    .describe('The model of that server. Another one: all knowledge is embedded again.'),
  ATELIER_REDIS_PREFIX: z
    .string()
    .regex(/^[a-zA-Z0-9:_-]+$/)
    .default('atelier')
    .describe('Begins every Redis key and channel.'),
  ATELIER_POOL_SIZE: whole(2, 200).default(16).describe('Postgres connections per process.'),
  ATELIER_URL: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('Where `atelier task` finds the API. Default: `atelier start` in the same folder.'),
  ATELIER_API_KEY: z
    .string()
    .optional()
    .describe('The key that `atelier task` uses. Default: the development key of `atelier start` in the same folder.'),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('What is logged, as JSON lines on stderr.'),
};

const schema = z.object(variables);

export type Config = Readonly<z.output<typeof schema>>;

/** Name, description and default of every setting, for the README and `atelier --help`. */
export const settings = Object.entries(variables).map(([name, type]) => ({
  name,
  description: type.description ?? '',
  default:
    type instanceof z.ZodDefault ? String(Array.isArray(type.def.defaultValue) ? '' : type.def.defaultValue) : '',
}));

/**
 * Reads the environment into one frozen object.
 * @throws ConfigError that names every bad value and, for an unknown `ATELIER_…` or `S3_…` name, the one that was meant.
 */
export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const given: Record<string, string> = {};
  const problems: string[] = [];
  for (const [key, value] of Object.entries(environment)) {
    if (value === undefined || value === '') continue;
    const plain = key.replace(/_FILE$/, '');
    if (Object.hasOwn(variables, key)) given[key] = value;
    else if (Object.hasOwn(variables, plain)) {
      try {
        given[plain] ??= readFileSync(value, 'utf8').trim();
      } catch (error) {
        problems.push(`${key}: ${(error as Error).message}`);
      }
    } else if (/^(ATELIER|S3)_/.test(key) && !key.startsWith('ATELIER_ADAPTER_')) problems.push(unknownName(key));
  }
  const parsed = schema.safeParse(given);
  for (const issue of parsed.error?.issues ?? []) problems.push(`${issue.path.join('.')}: ${issue.message}`);
  if (problems.length > 0 || !parsed.success) throw new ConfigError(`bad configuration:\n  ${problems.join('\n  ')}`);
  return Object.freeze(parsed.data);
}

/** Reads `a=1,b=2`. */
export function readNumbers(text: string | undefined): Record<string, number> {
  return Object.fromEntries(
    (text ?? '')
      .split(',')
      .filter(Boolean)
      .map((pair) => [pair.split('=')[0], Number(pair.split('=')[1])]),
  );
}

function unknownName(key: string): string {
  const [, word = '', name] = /^ATELIER_([A-Z]+)_(.+)$/.exec(key) ?? [];
  if (distance(word, 'ADAPTER') <= 2) return `${key}: no such setting; did you mean ATELIER_ADAPTER_${name}?`;
  const nearest = closest(key, Object.keys(variables));
  return `${key}: no such setting${distance(key, nearest) <= 5 ? `; did you mean ${nearest}?` : ''}`;
}
