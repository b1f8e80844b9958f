import type { AgentProfile } from '../db.ts';
import { notFound } from '../errors.ts';
import { fromId, toId } from '../id.ts';
import { agentRoles, createAgent, listAgents, updateAgent } from '../pipelines/agent.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { nobody, projectOf, readableProject } from './narrow.ts';
import { narrowed } from './pipeline.ts';
import { resultUnion } from './result.ts';

/** An agent that the caller can use: Atelier's, his account's, or that of a project that he reaches; or null. */
export async function findAgentProfile({ core, caller, load }: GraphContext, id: string): Promise<AgentProfile | null> {
  const uuid = fromId('AgentProfile', id);
  const agent = uuid ? await load.agent.load(uuid) : null;
  if (!agent || !core.registry.taskType(agent.taskType)) return null;
  if (agent.accountId === null) return agent;
  const only = caller.only?.taskIds ? nobody : caller.only?.projectId;
  const isInReach = agent.projectId === null || only === undefined || agent.projectId === only;
  return agent.accountId === caller.accountId && isInReach ? agent : null;
}

/** AgentProfile, `agentProfiles`, `createAgentProfile`, `updateAgentProfile`. */
export function addAgentProfile(graph: Graph): void {
  const { builder, registry, Node, TaskType } = graph;
  const AgentRole = builder.enumType('AgentRole', {
    description: 'What an agent is for. A stage of a pipeline can name a role; its default agent then does the work.',
    values: agentRoles,
  });
  const Agent = builder.objectType('AgentProfile', {
    description: 'Who does the work of a stage: what its tasks are told, and with what.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the agent.', resolve: ({ id }) => toId('AgentProfile', id) }),
      name: t.exposeString('name', { description: 'For people.' }),
      role: t.field({ type: AgentRole, description: 'What it is for.', resolve: ({ role }) => role as never }),
      version: t.exposeInt('version', { description: '1, 2, 3 …: each change makes the next.' }),
      systemPrompt: t.exposeString('systemPrompt', { description: 'What its tasks are told first.' }),
      taskType: t.field({
        type: TaskType,
        description: 'What kind of tasks it does.',
        resolve: ({ taskType }) => taskType,
      }),
      provider: t.exposeString('provider', {
        nullable: true,
        description: "Name of the adapter; null: the task type's route.",
      }),
      model: t.exposeString('model', { nullable: true, description: 'A model of the provider; null: its first.' }),
      parameters: t.expose('parameters', {
        type: 'JSON',
        nullable: true,
        description: "Fields of the task's input, as { temperature: 0.2 }; the stage's own come before them.",
      }),
      responseSchema: t.expose('responseSchema', {
        type: 'JSON',
        nullable: true,
        description: 'A JSON Schema of what it answers; null: text.',
      }),
    }),
  });
  const Success = builder.objectRef<{ agentProfile: AgentProfile }>('AgentProfileSuccess').implement({
    description: 'The agent is kept. Tasks that exist keep what they were given.',
    fields: (t) => ({
      agentProfile: t.field({ type: Agent, description: 'The agent.', resolve: ({ agentProfile }) => agentProfile }),
    }),
  });
  const result = resultUnion(graph, 'AgentProfileResult', Success, ['ValidationError', 'NotFoundError']);
  const CreateInput = builder.inputType('CreateAgentProfileInput', {
    description: 'A new agent.',
    fields: (t) => ({
      name: t.string({ required: true, description: 'For people, 1 to 200 characters.' }),
      role: t.field({ type: AgentRole, required: true, description: 'What it is for.' }),
      systemPrompt: t.string({
        required: true,
        description:
          'What its tasks are told first, at most 100,000 characters. It may hold templates, as {{item.title}}.',
      }),
      taskType: t.field({ type: TaskType, description: 'What kind of tasks it does. Default: GENERATE_TEXT.' }),
      provider: t.string({ description: "Name of an adapter. Default: the task type's route." }),
      model: t.string({ description: 'A model of the provider, which must be named too. Default: its first.' }),
      parameters: t.field({
        type: 'JSON',
        description: "An object of fields of the task's input, at most 100,000 bytes of JSON. Default: none.",
      }),
      responseSchema: t.field({
        type: 'JSON',
        description: 'A JSON Schema of what it answers, at most 100,000 bytes. Default: text.',
      }),
      projectId: t.id({ description: 'Only for this project. Default: for all of the account.' }),
    }),
  });
  const UpdateInput = builder.inputType('UpdateAgentProfileInput', {
    description: 'What changes of an agent. What is left out stays; null takes it away.',
    fields: (t) => ({
      name: t.string({ description: 'For people, 1 to 200 characters.' }),
      systemPrompt: t.string({ description: 'What its tasks are told first, at most 100,000 characters.' }),
      provider: t.string({ description: "Name of an adapter; null: the task type's route." }),
      model: t.string({ description: 'A model of the provider; null: its first.' }),
      parameters: t.field({
        type: 'JSON',
        description: "An object of fields of the task's input, at most 100,000 bytes of JSON.",
      }),
      responseSchema: t.field({
        type: 'JSON',
        description: 'A JSON Schema of what it answers, at most 100,000 bytes; null: text.',
      }),
    }),
  });
  builder.queryField('agentProfiles', (t) =>
    t.field({
      type: [Agent],
      description:
        "The agents that can be used: Atelier's own, one for each role, then the account's, oldest first. Scope tasks:read.",
      args: { projectId: t.arg.id({ description: 'Without those of other projects. Default: all of the account.' }) },
      resolve: async (_root, args, context) => {
        requireScope(context, 'tasks:read');
        const { core, caller } = context;
        const id = args.projectId ?? (caller.only ? toId('Project', caller.projectId) : null);
        const scope = id === null ? { accountId: caller.accountId } : await readableProject(context, id);
        const agents = scope ? await listAgents(core, scope) : [];
        return agents.filter(({ taskType }) => registry.taskType(taskType));
      },
    }),
  );
  builder.mutationFields((t) => ({
    createAgentProfile: t.field({
      type: result.ref,
      description: 'Creates an agent; updatePipelineConfiguration sets it for a stage. Scope tasks:write.',
      args: { input: t.arg({ type: CreateInput, required: true, description: 'The agent.' }) },
      resolve: (_root, { input: { projectId: id, ...facts } }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const wanted = projectOf(context, id);
          const scope = wanted == null ? null : await readableProject(context, toId('Project', wanted));
          if (wanted === null || (wanted && !scope)) throw notFound('project');
          const owner = { accountId: context.caller.accountId, projectId: scope?.projectId ?? null };
          return { agentProfile: await createAgent(context.core, owner, facts as never) };
        }),
    }),
    updateAgentProfile: t.field({
      type: result.ref,
      description:
        "Changes an agent of the account's own: its next version. Those that come with Atelier stay as they are. Scope tasks:write.",
      args: {
        id: t.arg.id({ required: true, description: 'Id of the agent.' }),
        input: t.arg({ type: UpdateInput, required: true, description: 'What changes.' }),
      },
      resolve: (_root, { id, input }, context) =>
        result.answer(context, ['tasks:write'], async () => {
          const agent = await findAgentProfile(context, id);
          if (!agent) throw notFound('agent profile');
          if (context.caller.only && agent.accountId !== null && agent.projectId === null) throw narrowed();
          return { agentProfile: await updateAgent(context.core, agent, input as never) };
        }),
    }),
  }));
}
