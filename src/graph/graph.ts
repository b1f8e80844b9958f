import type { UnionRef } from '@pothos/core';
import type { Task, TaskEvent } from '../db.ts';
import type { Registry } from '../registry.ts';
import { createBuilder } from './builder.ts';
import { addPageInfo } from './page.ts';
import { addUserErrors } from './result.ts';
import { createTaskTypeGraph } from './task-type.ts';

export type Graph = ReturnType<typeof createGraph>;

/**
 * The schema while it is made: the builder, and the types that nouns need of each other. Each noun's file adds its own types,
 * queries and mutations to it.
 */
export function createGraph(registry: Registry) {
  const builder = createBuilder();
  const errors = addUserErrors(builder);
  const PageInfo = addPageInfo(builder);
  const types = createTaskTypeGraph(builder, registry);
  const Node = builder.interfaceRef<object>('Node').implement({
    description: 'Anything that has an id of its own.',
    fields: (t) => ({ id: t.id({ description: 'Opaque, and unique over all types.', resolve: () => '' }) }),
  });
  const TaskStatus = builder.enumType('TaskStatus', {
    description: 'Where a task stands. The last four are terminal.',
    values: {
      SCHEDULED: { description: 'Waits for its runAt.' },
      QUEUED: { description: 'Waits for its turn.' },
      PROCESSING: { description: 'A worker or a provider is at it.' },
      COMPLETED: { description: 'Done; result and assets are there.' },
      FAILED: { description: 'Ended without a result; error says why.' },
      CANCELLED: { description: 'Cancelled on request.' },
      EXPIRED: { description: 'Never started within its ttlSeconds.' },
    },
  });
  // The types of a union are read when the schema is built: task.ts fills them in.
  const taskMembers = new Map<string, any>();
  const Task = builder.unionType('Task', {
    description: 'A task of any type. Common fields are in the interface BaseTask.',
    types: () => [...taskMembers.values()],
    resolveType: (task: Task) => taskMembers.get(task.type),
  }) as unknown as UnionRef<any, Task>;
  const TaskEvent = builder.interfaceRef<TaskEvent>('TaskEvent');
  return { builder, registry, errors, PageInfo, Node, Task, taskMembers, TaskEvent, TaskStatus, ...types };
}
