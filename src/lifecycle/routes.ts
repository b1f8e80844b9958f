import type { Core } from '../core.ts';
import { type FieldIssue, quoted, validation } from '../errors.ts';
import type { LoadedAdapter } from '../registry.ts';
import type { AdapterModel } from '../sdk/index.ts';
import { forgetCatalog, type RouteTarget, readCatalog } from './catalog.ts';

export interface Route {
  taskType: string;
  targets: RouteTarget[];
}

/** A provider and a model that can do a task type. */
export interface Target {
  loaded: LoadedAdapter;
  model: AdapterModel;
}

/** The order of providers for each task type: what an operator set, else the first adapter that has the type. */
export async function listRoutes(core: Core): Promise<Route[]> {
  const { routes } = await readCatalog(core);
  return core.registry.taskTypes.map((type) => ({
    taskType: type.name,
    targets: routes.get(type.name) ?? defaultRoute(core, type.name),
  }));
}

/** Sets the order. An empty list goes back to the default. Throws a Refusal for what cannot do the type. */
export async function setRoute(core: Core, taskType: string, targets: RouteTarget[]): Promise<Route> {
  const issues: FieldIssue[] = [];
  if (targets.length > 10) issues.push({ path: ['targets'], message: 'at most 10' });
  targets.forEach((target, index) => {
    const found = findTarget(core, taskType, target.provider, target.model);
    if ('issue' in found) issues.push({ path: ['targets', String(index), found.field], message: found.issue });
  });
  if (issues.length > 0) throw validation(issues);
  const plain = targets.map(({ provider, model }) => ({ provider, model: model ?? null }));
  if (plain.length === 0) await core.db.sql('delete from route where task_type = $1', [taskType]);
  else {
    await core.db.sql(
      'insert into route (task_type, targets) values ($1, $2) on conflict (task_type) do update set targets = excluded.targets',
      [taskType, JSON.stringify(plain)],
    );
  }
  forgetCatalog(core);
  return (await listRoutes(core)).find((route) => route.taskType === taskType) ?? { taskType, targets: plain };
}

/**
 * The targets that a new task may use, in order. A provider or a model that the client names is the only one.
 * @returns `issues` with paths in the mutation's input when what he names does not exist or cannot do the type.
 */
export async function targetsFor(
  core: Core,
  taskType: string,
  provider?: string | null,
  model?: string | null,
): Promise<{ targets: Target[]; issues: FieldIssue[] }> {
  if (provider != null || model != null) {
    const owner =
      provider ??
      usable(core).find(({ models }) => models.some((each) => each.id === model && each.taskTypes.includes(taskType)))
        ?.adapter.name;
    if (owner === undefined)
      return {
        targets: [],
        issues: [
          { path: ['model'], message: `no model ${quoted(model!)} makes ${taskType}; \`providers\` lists what does` },
        ],
      };
    const found = findTarget(core, taskType, owner, model);
    return 'issue' in found
      ? { targets: [], issues: [{ path: [found.field], message: found.issue }] }
      : { targets: [found], issues: [] };
  }
  const { routes } = await readCatalog(core);
  const route = routes.get(taskType) ?? defaultRoute(core, taskType);
  const targets = route
    .map((target) => findTarget(core, taskType, target.provider, target.model))
    .filter((found): found is Target => !('issue' in found));
  return { targets, issues: [] };
}

function findTarget(
  core: Core,
  taskType: string,
  provider: string,
  model?: string | null,
): Target | { field: 'provider' | 'model'; issue: string } {
  const loaded = core.registry.adapter(provider);
  const able = usable(core).filter(({ models }) => models.some((each) => each.taskTypes.includes(taskType)));
  const choice = able.map(({ adapter }) => adapter.name).join(', ') || 'none is installed';
  if (!loaded) return { field: 'provider', issue: `no provider ${quoted(provider)}; for ${taskType}: ${choice}` };
  if (loaded.disabled)
    return {
      field: 'provider',
      issue: `"${provider}" is switched off here`,
    };
  const models = loaded.models.filter((each) => each.taskTypes.includes(taskType));
  if (models.length === 0)
    return { field: 'provider', issue: `"${provider}" does not make ${taskType}; these do: ${choice}` };
  const found = model == null ? models[0] : models.find((each) => each.id === model);
  if (!found)
    return {
      field: 'model',
      issue: `"${provider}" has no model ${quoted(model!)} for ${taskType}; it has ${models.map((each) => each.id).join(', ')}`,
    };
  if (found.sunsetAt && found.sunsetAt <= new Date())
    return {
      field: 'model',
      issue: `"${provider}" has ended "${found.id}" on ${found.sunsetAt.toISOString().slice(0, 10)}`,
    };
  return { loaded, model: found };
}

const usable = (core: Core): LoadedAdapter[] => core.registry.adapters.filter(({ disabled }) => disabled === undefined);

function defaultRoute(core: Core, taskType: string): RouteTarget[] {
  const first = usable(core).find(({ models }) => models.some((model) => model.taskTypes.includes(taskType)));
  return first ? [{ provider: first.adapter.name, model: null }] : [];
}
