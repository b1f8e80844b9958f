import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { failureClasses } from '../failure.ts';
import { nearest } from '../nearest.ts';

/** An object of these fields and no others: what is misspelt would count for nothing, and the check would pass. */
const shape = <Fields extends z.core.$ZodShape>(fields: Fields) =>
  z.strictObject(fields, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? issue.keys.map((key) => unknownField(key, fields)).join('; ') : undefined,
  });

function unknownField(name: string, fields: object): string {
  const known = Object.keys(fields);
  const meant = nearest(name, known);
  return `there is no field "${name}"; ${meant ? `did you mean "${meant}"?` : `there are ${known.join(', ')}`}`;
}

const headers = z.record(z.string(), z.string());
const usage = z.array(shape({ unit: z.string(), quantity: z.number() }));

/** Bytes as `json`, as `text` (an event stream, say) or as `base64`; none of them: no bytes. */
const content = {
  json: z.unknown().optional(),
  text: z.string().optional(),
  base64: z.string().optional(),
};

const response = shape({
  status: z.int().min(100).max(599).default(200),
  headers: headers.optional().describe('`content-type` follows from `json`, unless it is given.'),
  ...content,
});

const exchange = shape({
  request: shape({
    method: z.string().default('GET'),
    url: z.string().describe('Whole. Its query parameters must be sent; others may be.'),
    json: z.unknown().optional().describe('What was sent must hold all of it; `"*"` stands for anything.'),
    headers: headers.optional().describe('These must be sent; `"*"` stands for any value. Leave the keys out.'),
  }),
  response,
  free: z
    .literal(true)
    .optional()
    .describe(
      'It costs nothing, though it is no GET: a place for an upload, say. Default: it may be what is paid for.',
    ),
});

const schema = shape({
  document: z.string().describe("Where the vendor's document stands that says so: a URL."),
  taskType: z.string(),
  model: z.string(),
  input: z
    .record(z.string(), z.unknown())
    .describe("The task type's input; complete, with its defaults, where the suite is not given the task type."),
  config: z.record(z.string(), z.unknown()).optional(),
  secrets: z
    .record(z.string(), z.string())
    .optional()
    .describe('Values made up for the recording, where a signature hangs on them. Never real ones.'),
  attemptKey: z.string().optional(),
  callbackUrl: z.url().optional(),
  now: z.iso.datetime().optional().describe('When `start` is called. Default: the first of January 2026.'),
  files: z
    .record(
      z.string(),
      z.array(
        shape({
          kind: z.enum(['IMAGE', 'VIDEO', 'AUDIO', 'TEXT', 'OTHER']),
          contentType: z.string().optional(),
          place: z.string().optional().describe('What stands in the request in its place.'),
        }),
      ),
    )
    .optional()
    .describe('The input files by field. Default: one for each URL in a list of URLs in the input.'),
  exchanges: z
    .array(exchange)
    .default([])
    .describe(
      'In the order of the recording. Several of one method and URL answer one after the other; the last GET of them again and again. Empty: the adapter needs no network.',
    ),
  sockets: z
    .array(shape({ url: z.string(), messages: z.array(z.union([z.string(), shape(content)])) }))
    .default([])
    .describe('WebSockets: what the vendor said, then the end.'),
  statusFields: z
    .array(z.string())
    .optional()
    .describe(
      'Names of the fields that hold a status word in the answers to GET. Default: every name with status, state or phase in it.',
    ),
  cancel: z.array(exchange).optional().describe('What `cancel` exchanges for the job of this recording.'),
  find: z.array(exchange).optional().describe('What `find` exchanges when it does find the job of this recording.'),
  callback: shape({ at: z.iso.datetime(), headers, query: z.record(z.string(), z.string()).default({}), ...content })
    .optional()
    .describe('A signed call of the vendor about the job of this recording, and when it came.'),
  expect: shape({
    outputs: z.int().min(0).optional().describe('How many files.'),
    state: z
      .enum(['succeeded', 'failed', 'cancelled', 'running', 'queued'])
      .optional()
      .describe('Where it ends. Default: failed with `failure`, else succeeded.'),
    failure: z
      .union([z.enum(failureClasses), shape({ class: z.enum(failureClasses).optional(), code: z.string().optional() })])
      .optional(),
    result: z.record(z.string(), z.unknown()).optional().describe('The result must hold all of it.'),
    usage: usage
      .nullable()
      .optional()
      .describe('`null`: the vendor does not say, and the quote is charged. Needed where it succeeds.'),
    cost: shape({ amount: z.string(), currency: z.string() }).optional(),
    warnings: z
      .union([z.int().min(0), z.array(z.string())])
      .optional()
      .describe('How many, or which.'),
    text: z.string().optional().describe('All streamed pieces of text, joined.'),
  }),
});

/** A recorded answer of a vendor. */
export type RecordedResponse = z.output<typeof response>;
/** A recorded request with its answer. */
export type RecordedExchange = z.output<typeof exchange>;

/**
 * One recorded case of an adapter: an input of a task, what the adapter and the vendor then said to each other, and how it ends. True in its shape: copy it
 * from the vendor's document or from a real exchange, and take the keys out.
 *
 * ```json
 * {
 *   "document": "https://docs.acme.example/api#create",
 *   "taskType": "generate_image", "model": "acme-1", "input": { "prompt": "a boat", "width": 64, "height": 64, "count": 1, "seed": 7 },
 *   "exchanges": [
 *     { "request": { "method": "POST", "url": "https://api.acme.example/v1/jobs", "json": { "prompt": "a boat", "seed": 7 } },
 *       "response": { "status": 202, "json": { "id": "job-1", "status": "waiting" } } },
 *     { "request": { "method": "GET", "url": "https://api.acme.example/v1/jobs/job-1" },
 *       "response": { "status": 200, "json": { "id": "job-1", "status": "done", "images": ["https://files.acme.example/1.png"] } } }
 *   ],
 *   "expect": { "outputs": 1, "usage": [{ "unit": "image", "quantity": 1 }] }
 * }
 * ```
 */
export type Fixture = z.input<typeof schema> & {
  /** Its file's name without `.json`: what the suite calls it. */
  name?: string;
  /** Where it was read from: what is wrong with it begins with that. */
  file?: string;
};

/** A {@link Fixture} with its defaults. */
export type FixtureCase = z.output<typeof schema> & { name: string };

/**
 * The cases in a folder: every `*.json` in it, in the order of their names. An empty list when there is no such folder.
 * @param folder a path, or `new URL('./fixtures/', import.meta.url)`.
 * @throws TypeError that names the file which holds no JSON.
 */
export function readFixtures(folder: string | URL): Fixture[] {
  const path = typeof folder === 'string' ? folder : fileURLToPath(folder);
  let files: string[];
  try {
    files = readdirSync(path).filter((file) => file.endsWith('.json'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return files.sort().map((name) => {
    const file = join(path, name);
    try {
      return { ...JSON.parse(readFileSync(file, 'utf8')), name: name.slice(0, -'.json'.length), file };
    } catch (cause) {
      throw new TypeError(`${file}: ${(cause as Error).message}`, { cause });
    }
  });
}

/** @throws TypeError that says which fields do not fit, and where they stand. */
export function toCase({ name, file: _, ...fixture }: Fixture, index: number): FixtureCase {
  const parsed = schema.safeParse(fixture);
  if (parsed.success) return { ...parsed.data, name: name ?? `case ${index + 1}` };
  const issues = parsed.error.issues.flatMap((issue) => plain(issue));
  // What is misspelt is missing too, under its right name.
  issues.sort((one, other) => Number(isUnknown(other)) - Number(isUnknown(one)));
  throw new TypeError(issues.map(({ path, message }) => [pathOf(path), message].filter(Boolean).join(': ')).join('; '));
}

const isUnknown = ({ code }: z.core.$ZodIssue): boolean => code === 'unrecognized_keys';

/** What is wrong with a value that may have several shapes: what the shape says that it has come nearest to. */
function plain(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  if (issue.code !== 'invalid_union') return [issue];
  const nearest = issue.errors.find((each) => each.every((one) => isUnknown(one) || one.path.length > 0));
  return nearest?.flatMap((each) => plain({ ...each, path: [...issue.path, ...each.path] })) ?? [issue];
}

/** `exchanges[0].request` */
const pathOf = (path: PropertyKey[]): string =>
  path.reduce<string>((whole, key) => {
    if (typeof key === 'number') return `${whole}[${key}]`;
    return whole ? `${whole}.${String(key)}` : String(key);
  }, '');

/** The bytes of a recorded answer, message or callback. */
export function bytesOf({ json, text, base64 }: { json?: unknown; text?: string; base64?: string }): Uint8Array {
  if (json !== undefined) return Buffer.from(JSON.stringify(json));
  return base64 === undefined ? Buffer.from(text ?? '') : Buffer.from(base64, 'base64');
}
