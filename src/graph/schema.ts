import type { GraphQLSchema } from 'graphql';
import { ConfigError } from '../errors.ts';
import type { Registry } from '../registry.ts';
import { addAccount } from './account.ts';
import { addAgentProfile } from './agent-profile.ts';
import { addApiKey } from './api-key.ts';
import { addAsset } from './asset.ts';
import { addBaseTask } from './base-task.ts';
import { addCreateTask } from './create-task.ts';
import { addEndTask } from './end-task.ts';
import { createGraph } from './graph.ts';
import { addHealth } from './health.ts';
import { addItem } from './item.ts';
import { addKnowledge } from './knowledge.ts';
import { addLane } from './lane.ts';
import { addLedger } from './ledger.ts';
import { addNode } from './node.ts';
import { addPipeline } from './pipeline.ts';
import { addPipelineConfiguration } from './pipeline-configuration.ts';
import { addPipelineOverview } from './pipeline-overview.ts';
import { addPrice } from './price.ts';
import { addProject } from './project.ts';
import { addProvider } from './provider.ts';
import { addReviews } from './review.ts';
import { addRoute } from './route.ts';
import { addRun } from './run.ts';
import { addRunCommands } from './run-command.ts';
import { addRunEvents } from './run-event.ts';
import { addRunSuccess, addStartRun } from './start-run.ts';
import { addTasks } from './task.ts';
import { addTaskEvents } from './task-event.ts';
import { addWebhookDelivery } from './webhook-delivery.ts';

/**
 * The public face for a set of task types and adapters.
 * @throws ConfigError for a task type that does not fit into it; the message names its plugin, the type and the field.
 */
export function buildSchema(registry: Registry): GraphQLSchema {
  try {
    return build(registry);
  } catch (cause) {
    const plugins = new Set(registry.taskTypes.flatMap(({ name }) => registry.origin(name) ?? []));
    if (plugins.size === 0) throw cause;
    // The one that does not fit beside Atelier's own types alone; none: they do not fit beside each other.
    const culprit = [...plugins].find((plugin) => !fits(registry, plugin));
    throw new ConfigError(`${culprit ?? [...plugins].join(' and ')}: ${(cause as Error).message}`, { cause });
  }
}

function fits(registry: Registry, plugin: string): boolean {
  const taskTypes = registry.taskTypes.filter(({ name }) => [plugin, undefined].includes(registry.origin(name)));
  try {
    build({ ...registry, taskTypes });
    return true;
  } catch {
    return false;
  }
}

function build(registry: Registry): GraphQLSchema {
  const graph = createGraph(registry);
  addProject(graph);
  addAccount(graph);
  addApiKey(graph);
  addLedger(graph);
  addAsset(graph);
  addWebhookDelivery(graph);
  addBaseTask(graph);
  const tasks = addTasks(graph);
  const { LogLevel } = addTaskEvents(graph, tasks);
  addCreateTask(graph);
  addEndTask(graph, tasks);
  addPipeline(graph);
  addAgentProfile(graph);
  addPipelineConfiguration(graph);
  addPipelineOverview(graph);
  addItem(graph);
  const runs = addRun(graph, { ...tasks, LogLevel });
  const success = addRunSuccess(graph);
  addStartRun(graph, success);
  addRunCommands(graph, success);
  addRunEvents(graph, { ...runs, LogLevel });
  addReviews(graph);
  addPrice(graph);
  addRoute(graph);
  addProvider(graph);
  addKnowledge(graph);
  addHealth(graph, addLane(graph));
  addNode(graph);
  return graph.builder.toSchema();
}
