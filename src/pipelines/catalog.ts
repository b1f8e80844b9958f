import { isDeepStrictEqual } from 'node:util';
import type { Core } from '../core.ts';
import type { Pipeline } from '../db.ts';
import { ConfigError, type FieldIssue, validation } from '../errors.ts';
import { isStorable, isStorableJson, notStorable } from '../lifecycle/storable.ts';
import type { PipelineTransform } from '../sdk/index.ts';
import { builtInPipelines } from './built-in/index.ts';
import { type Known, readDefinition } from './check-definition.ts';
import type { PipelineDefinition } from './definition.ts';
import { schemaProblem } from './json-schema.ts';
import { builtInTransforms } from './transforms/index.ts';

/** A version of a pipeline. */
export interface PipelineVersion extends Omit<Pipeline, 'definition'> {
  definition: PipelineDefinition;
}

const maxDefinitionBytes = 1_000_000;
/** Any number that other programs on the same database are unlikely to lock. */
const advisoryLock = 4_021_966;

/** The function that a TRANSFORM stage names. */
export function transformOf(core: Core, name: string): PipelineTransform | undefined {
  return [...builtInTransforms, ...core.registry.transforms].find((each) => each.name === name);
}

/** Pipelines that are everybody's. One that came with a plugin goes with it. */
const installed = ({ registry }: Core) => [...builtInPipelines, ...registry.pipelines];

/** What definitions can name here. */
const knownTo = (core: Core): Known => ({
  taskType: core.registry.taskType,
  transform: (name) => transformOf(core, name),
});

/**
 * Keeps the pipelines that come with Atelier and with plugins: one that has changed becomes its next version.
 * @throws ConfigError that names the plugin's pipeline and what is wrong with it.
 */
export async function keepPipelines(core: Core): Promise<void> {
  for (const { name, parameters } of core.registry.transforms) {
    const problem = parameters && schemaProblem(parameters, { isTrusted: true });
    if (problem) throw new ConfigError(`transform "${name}": parameters ${problem}`);
  }
  const given = installed(core);
  const definitions = given.map((one) => {
    const read = readDefinition(one, knownTo(core), [`pipeline "${one.name}"`]);
    if ('definition' in read) return read.definition;
    throw new ConfigError(read.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; '));
  });
  for (const definition of definitions) await keep(core, null, definition);
}

/**
 * Keeps a pipeline of an account's own; the same name again is its next version, unless nothing has changed.
 * @throws Refusal ValidationError with what is wrong, field by field.
 */
export async function createPipeline(core: Core, accountId: string, given: unknown): Promise<PipelineVersion> {
  if (!isStorableJson(given)) throw refuse(notStorable);
  if (Buffer.byteLength(JSON.stringify(given)) > maxDefinitionBytes)
    throw refuse(`must be at most ${maxDefinitionBytes.toLocaleString('en')} bytes of JSON`);
  const read = readDefinition(given, knownTo(core));
  if ('issues' in read) throw validation(read.issues);
  const { name } = read.definition;
  if (installed(core).some((other) => other.name === name))
    throw validation([
      { path: ['definition', 'name'], message: `"${name}" comes with Atelier or a plugin; take another` },
    ]);
  return keep(core, accountId, read.definition);
}

const refuse = (message: string) => validation([{ path: ['definition'], message } satisfies FieldIssue]);

async function keep(core: Core, accountId: string | null, definition: PipelineDefinition): Promise<PipelineVersion> {
  const client = await core.db.pool.connect();
  try {
    await client.query('begin');
    await client.query('select pg_advisory_xact_lock($1)', [advisoryLock]);
    const newest = await client.query<{ version: number; definition: PipelineDefinition }>(
      'select * from pipeline where account_id is not distinct from $1 and name = $2 order by version desc limit 1',
      [accountId, definition.name],
    );
    const [row] = newest.rows;
    const isSame = row && isDeepStrictEqual(row.definition, JSON.parse(JSON.stringify(definition)));
    if (!isSame)
      await client.query(
        'insert into pipeline (account_id, name, version, title, definition) values ($1, $2, $3, $4, $5)',
        [accountId, definition.name, (row?.version ?? 0) + 1, definition.title, JSON.stringify(definition)],
      );
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  } finally {
    client.release();
  }
  return (await findPipeline(core, accountId, definition.name))!;
}

/** The newest version of a pipeline: of the account's own, else of those for all. */
export async function findPipeline(
  core: Core,
  accountId: string | null,
  name: string,
): Promise<PipelineVersion | undefined> {
  if (!isStorable(name)) return undefined;
  const [row] = await core.db.sql<PipelineVersion>(
    `select * from pipeline where (account_id = $1 or (account_id is null and name = any($3))) and name = $2
     order by account_id nulls last, version desc limit 1`,
    [accountId, name, installed(core).map((one) => one.name)],
    'pipeline_find',
  );
  return row;
}

/** The version that a run has. */
export async function pipelineOf(core: Core, pipelineId: string): Promise<PipelineVersion> {
  const [row] = await pipelinesOf(core, [pipelineId]);
  return row!;
}

/** Versions by their UUIDs, in any order. */
export function pipelinesOf(core: Core, ids: string[]): Promise<PipelineVersion[]> {
  return core.db.sql<PipelineVersion>('select * from pipeline where id = any($1)', [ids], 'pipelines_of');
}

/** The newest version of each pipeline that an account can run, by name. */
export function listPipelines(core: Core, accountId: string): Promise<PipelineVersion[]> {
  return core.db.sql<PipelineVersion>(
    `select distinct on (name) * from pipeline where account_id = $1 or (account_id is null and name = any($2))
     order by name, account_id nulls last, version desc`,
    [accountId, installed(core).map((one) => one.name)],
    'pipeline_list',
  );
}
