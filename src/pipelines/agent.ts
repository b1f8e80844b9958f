import type { z } from 'zod';
import type { Core } from '../core.ts';
import type { AgentProfile } from '../db.ts';
import { type FieldIssue, notFound, quoted, validation } from '../errors.ts';
import { targetsFor } from '../lifecycle/routes.ts';
import { isStorableJson, notStorable } from '../lifecycle/storable.ts';
import type { TaskType } from '../sdk/index.ts';
import type { Scope, StageSettings } from './configuration.ts';
import { defaultAgents } from './default-agents.ts';
import type { TasksStage } from './definition.ts';
import { schemaFlaw } from './json-schema.ts';
import { templateNames } from './template.ts';

/** Who does the work of a stage. */
export type Agent = AgentProfile;

export const agentRoles = ['WRITER', 'REVIEWER', 'DESIGNER', 'SEO', 'CUSTOM'] as const;
export type AgentRole = (typeof agentRoles)[number];

/** What an agent is made of. */
export interface AgentFacts {
  name: string;
  role: AgentRole;
  systemPrompt: string;
  /** Default: generate_text. */
  taskType?: string | null;
  provider?: string | null;
  model?: string | null;
  parameters?: unknown;
  responseSchema?: unknown;
}

const agentLimits = { nameLength: 200, systemPromptLength: 100_000, jsonBytes: 100_000 };

/** Keeps the agents that come with Atelier, one for each role; an operator's Atelier that is newer brings newer ones. */
export async function keepDefaultAgents(core: Core): Promise<void> {
  for (const { role, name, systemPrompt, taskType, parameters, responseSchema } of defaultAgents)
    await core.db.sql(
      `insert into agent_profile (role, name, system_prompt, task_type, parameters, response_schema) values ($1, $2, $3, $4, $5, $6)
       on conflict (role) where account_id is null do update set name = excluded.name, system_prompt = excluded.system_prompt,
         task_type = excluded.task_type, parameters = excluded.parameters, response_schema = excluded.response_schema,
         version = agent_profile.version + 1, updated_at = now()
       where (agent_profile.name, agent_profile.system_prompt, agent_profile.task_type, agent_profile.parameters, agent_profile.response_schema)
         is distinct from (excluded.name, excluded.system_prompt, excluded.task_type, excluded.parameters, excluded.response_schema)`,
      [role, name, systemPrompt, taskType ?? 'generate_text', json(parameters), json(responseSchema)],
    );
}

const json = (value: unknown): string | null => (value == null ? null : JSON.stringify(value));

/** Those that a project can use: Atelier's, the account's, the project's own. */
export function listAgents(core: Core, { accountId, projectId }: { accountId: string; projectId?: string | null }) {
  return core.db.sql<Agent>(
    `select * from agent_profile where account_id is null
       or (account_id = $1 and ($2::uuid is null or project_id is null or project_id = $2)) order by account_id nulls first, id`,
    [accountId, projectId ?? null],
    'agents',
  );
}

/** One that a project can use. */
export async function findAgent(core: Core, scope: Scope, id: string): Promise<Agent | undefined> {
  const [agent] = await core.db.sql<Agent>(
    'select * from agent_profile where id = $1 and (account_id is null or (account_id = $2 and (project_id is null or project_id = $3)))',
    [id, scope.accountId, scope.projectId],
    'agent_find',
  );
  return agent;
}

/** Who does a stage: the one that is set in the project, else the default of the role that the definition names. */
export async function agentFor(
  core: Core,
  scope: Scope,
  stage: TasksStage,
  { agentId }: Pick<StageSettings, 'agentId'>,
): Promise<Agent | null> {
  if (agentId) return (await findAgent(core, scope, agentId)) ?? null;
  if (!stage.agent) return null;
  const [agent] = await core.db.sql<Agent>(
    'select * from agent_profile where account_id is null and role = $1',
    [stage.agent],
    'agent_default',
  );
  return agent ?? null;
}

/** @throws Refusal ValidationError. */
export async function createAgent(
  core: Core,
  { accountId, projectId }: { accountId: string; projectId: string | null },
  facts: AgentFacts,
): Promise<Agent> {
  await check(core, facts);
  const { name, role, systemPrompt, taskType, provider, model, parameters, responseSchema } = facts;
  const [agent] = await core.db.sql<Agent>(
    `insert into agent_profile (account_id, project_id, name, role, system_prompt, task_type, provider, model, parameters, response_schema)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) returning *`,
    [
      accountId,
      projectId,
      name,
      role,
      systemPrompt,
      taskType ?? 'generate_text',
      provider ?? null,
      model ?? null,
      json(parameters),
      json(responseSchema),
    ],
  );
  return agent!;
}

/**
 * Changes an account's own agent: its next version, unless all stays as it was. Tasks that exist keep what they were given.
 * @param change what is undefined stays; null takes it away where that can be.
 * @throws Refusal ValidationError, for those that come with Atelier too; NotFoundError for one that is gone.
 */
export async function updateAgent(
  core: Core,
  agent: Agent,
  change: Partial<Omit<AgentFacts, 'role' | 'taskType'>>,
): Promise<Agent> {
  if (agent.accountId === null)
    throw validation([
      {
        path: ['id'],
        message: 'this agent comes with Atelier; make your own with createAgentProfile and set it for the stage',
      },
    ]);
  const merged = { ...agent, ...Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) };
  await check(core, merged as AgentFacts);
  const [changed] = await core.db.sql<Agent>(
    `update agent_profile set name = $2, system_prompt = $3, provider = $4, model = $5, parameters = $6, response_schema = $7,
       version = version + 1, updated_at = clock_timestamp()
     where id = $1 and (name, system_prompt, provider, model, parameters, response_schema) is distinct from ($2, $3, $4, $5, $6, $7)
     returning *`,
    [
      agent.id,
      merged.name,
      merged.systemPrompt,
      merged.provider,
      merged.model,
      json(merged.parameters),
      json(merged.responseSchema),
    ],
  );
  const [kept] = changed
    ? [changed]
    : await core.db.sql<Agent>('select * from agent_profile where id = $1', [agent.id], 'agent_read');
  if (!kept) throw notFound('agent profile');
  return kept;
}

/** A value with a placeholder is known when a task is made of it, the others now. */
function checkParameters(type: TaskType, parameters: unknown): FieldIssue[] {
  if (typeof parameters !== 'object' || parameters === null || Array.isArray(parameters)) return [];
  const shape: Record<string, z.ZodType> = type.input.shape;
  return Object.entries(parameters).flatMap(([field, value]) => {
    const path = ['input', 'parameters', field];
    if (!shape[field]) return [{ path, message: `${type.name} has no such input` }];
    if (templateNames(value).length > 0) return [];
    const issues = shape[field].safeParse(value).error?.issues ?? [];
    return issues.map((issue) => ({ path: [...path, ...issue.path.map(String)], message: issue.message }));
  });
}

function checkResponseSchema(type: TaskType, schema: unknown): FieldIssue[] {
  if (schema == null) return [];
  const refused = (message: string) => [{ path: ['input', 'responseSchema'], message }];
  if (!('responseSchema' in type.input.shape)) return refused(`${type.name} has no such input`);
  const flaw = typeof schema === 'object' && !Array.isArray(schema) ? schemaFlaw(schema) : undefined;
  return flaw === undefined ? [] : refused(flaw);
}

async function check(core: Core, facts: AgentFacts): Promise<void> {
  const issues: FieldIssue[] = [];
  const refuse = (condition: boolean, field: string, message: string) => {
    if (condition) issues.push({ path: ['input', field], message });
  };
  const { name, systemPrompt, taskType, provider, model, parameters, responseSchema } = facts;
  refuse(
    typeof name !== 'string' || !name.trim() || name.length > agentLimits.nameLength,
    'name',
    `must be 1 to ${agentLimits.nameLength} characters`,
  );
  refuse(
    typeof systemPrompt !== 'string' || systemPrompt.length > agentLimits.systemPromptLength,
    'systemPrompt',
    `must be a text of at most ${agentLimits.systemPromptLength.toLocaleString('en')} characters`,
  );
  for (const [field, text] of Object.entries({ name, systemPrompt })) refuse(!isStorableJson(text), field, notStorable);
  const typeName = taskType ?? 'generate_text';
  const type = core.registry.taskType(typeName);
  refuse(!type, 'taskType', `no task type ${quoted(typeName)} is installed`);
  refuse(model != null && provider == null, 'model', 'needs its provider');
  if (type && provider != null) {
    const { issues: found } = await targetsFor(core, type.name, provider, model);
    issues.push(...found.map(({ path, message }) => ({ path: ['input', ...path], message })));
  }
  for (const [field, value] of Object.entries({ parameters, responseSchema })) {
    if (value == null) continue;
    const isSound = isStorableJson(value);
    refuse(typeof value !== 'object' || Array.isArray(value), field, 'must be a JSON object');
    refuse(!isSound, field, notStorable);
    refuse(
      isSound && Buffer.byteLength(JSON.stringify(value)) > agentLimits.jsonBytes,
      field,
      `must be at most ${agentLimits.jsonBytes.toLocaleString('en')} bytes of JSON`,
    );
  }
  if (type) issues.push(...checkParameters(type, parameters), ...checkResponseSchema(type, responseSchema));
  if (issues.length > 0) throw validation(issues);
}
