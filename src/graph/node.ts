import { brandWithType } from '@pothos/core';
import type { Task } from '../db.ts';
import { type IdKind, parseId } from '../id.ts';
import { findAccount } from './account.ts';
import { findAgentProfile } from './agent-profile.ts';
import { findApiKey } from './api-key.ts';
import { findAsset } from './asset.ts';
import { type GraphContext, requireScope } from './context.ts';
import type { Graph } from './graph.ts';
import { findItem } from './item.ts';
import { findDocument } from './knowledge.ts';
import { findLedgerEntry } from './ledger.ts';
import { findPipelineVersion } from './pipeline.ts';
import { findConfiguration } from './pipeline-configuration.ts';
import { findProject } from './project.ts';
import { findReview } from './review.ts';
import { findRun } from './run.ts';
import { findTask } from './task.ts';
import { findDelivery } from './webhook-delivery.ts';

type Find = (context: GraphContext, id: string) => Promise<object | null>;

/** What mutations find for tasks:write too is read here. */
const reading =
  (find: Find): Find =>
  (context, id) => {
    requireScope(context, 'tasks:read');
    return find(context, id);
  };

/** How each kind is found, for this caller: null when there is none, or none for him. */
const finders: Partial<Record<IdKind, Find>> = {
  Task: reading(findTask),
  Asset: findAsset,
  WebhookDelivery: reading(findDelivery),
  Account: findAccount,
  Project: findProject,
  ApiKey: findApiKey,
  LedgerEntry: findLedgerEntry,
  Run: reading(findRun),
  Pipeline: reading(findPipelineVersion),
  PipelineConfiguration: reading(findConfiguration),
  Item: reading(findItem),
  Review: reading(findReview),
  AgentProfile: reading(findAgentProfile),
  KnowledgeDocument: reading(findDocument),
};

export function addNode({ builder, Node, taskTypes }: Graph): void {
  builder.queryField('node', (t) =>
    t.field({
      type: Node,
      nullable: true,
      description:
        'Anything by its id; null when there is no such thing for this caller. Needs the scope of the thing: tasks:read, or account for accounts, keys and the ledger.',
      args: { id: t.arg.id({ required: true, description: 'The id of anything that implements Node.' }) },
      resolve: async (_root, { id }, context) => {
        const kind = parseId(id)?.kind;
        const row = kind ? await finders[kind]?.(context, id) : null;
        if (!row || !kind) return null;
        const member = kind === 'Task' && taskTypes.find(({ type }) => type.name === (row as Task).type);
        const name = member ? `${member.name}Task` : kind === 'Run' ? 'PipelineRun' : kind;
        brandWithType(row, name as never);
        return row;
      },
    }),
  );
}
