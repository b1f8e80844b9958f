import { createProject } from '../access.ts';
import type { Project } from '../db.ts';
import { fromId, toId } from '../id.ts';
import { accountOf } from './account.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { resultUnion } from './result.ts';

/** One of the caller's projects, or null; for a client token that is narrowed to a project, that one only. */
export async function findProject(context: GraphContext, id: string): Promise<Project | null> {
  requireScope(context, 'tasks:read', 'account');
  const { core, caller } = context;
  const uuid = fromId('Project', id);
  if (!uuid || (caller.only?.projectId ?? uuid) !== uuid) return null;
  return core.db.prisma.project.findFirst({ where: { id: uuid, accountId: caller.accountId } });
}

/** Project, `project`, `createProject`. */
export function addProject(graph: Graph): void {
  const { builder, Node } = graph;
  const Project = builder.prismaObject('Project', {
    description: 'A scope inside an account: a site, a film, an app.',
    interfaces: [Node],
    fields: (t) => ({
      id: t.id({ description: 'Id of the project.', resolve: (project) => toId('Project', project.id) }),
      name: t.exposeString('name', { description: 'As it was given.' }),
      createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was created.' }),
    }),
  });
  const Success = builder.objectRef<{ project: Project }>('CreateProjectSuccess').implement({
    description: 'The project was created.',
    fields: (t) => ({
      project: t.field({ type: Project, description: 'The new project.', resolve: ({ project }) => project }),
    }),
  });
  const result = resultUnion(graph, 'CreateProjectResult', Success, ['ValidationError', 'NotFoundError']);
  const Input = builder.inputType('CreateProjectInput', {
    description: 'A new project.',
    fields: (t) => ({
      name: t.string({ required: true, description: '1 to 200 characters.' }),
      accountId: t.id({
        description: 'The account it belongs to; another than your own needs the scope operator. Default: your own.',
      }),
    }),
  });
  builder.queryField('project', (t) =>
    t.field({
      type: Project,
      nullable: true,
      description: 'One project; null when there is none with this id for this caller. Scope tasks:read or account.',
      args: { id: t.arg.id({ required: true, description: 'Id of the project.' }) },
      resolve: (_root, { id }, context) => findProject(context, id),
    }),
  );
  builder.mutationField('createProject', (t) =>
    t.field({
      type: result.ref,
      description: 'Creates a project. Scope account.',
      args: { input: t.arg({ type: Input, required: true, description: 'The project.' }) },
      resolve: (_root, { input }, context) =>
        result.answer(context, ['account', 'operator'], async () => ({
          project: await createProject(context.core, {
            accountId: accountOf(context, input.accountId),
            name: input.name,
          }),
        })),
    }),
  );
}
