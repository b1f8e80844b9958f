import { distance } from 'fastest-levenshtein';
import type { z } from 'zod';
import { type FieldIssue, quoted } from '../errors.ts';
import type { PipelineTransform, TaskType } from '../sdk/index.ts';
import {
  inletOf,
  isGate,
  nextOf,
  outputOf,
  type PipelineDefinition,
  pipelineDefinition,
  resultNames,
  type StageDefinition,
  scopeNames,
  sourceOf,
  type TasksStage,
} from './definition.ts';
import { openSchema, schemaProblem } from './json-schema.ts';
import { isUnclosed, templateNames } from './template.ts';

/** What the definition names must be there. */
export interface Known {
  taskType(name: string): TaskType | undefined;
  transform(name: string): PipelineTransform | undefined;
}

/**
 * Reads a definition.
 * @returns the definition with its defaults, or what is wrong with it, with paths from `path` down.
 */
export function readDefinition(
  given: unknown,
  known: Known,
  path: string[] = ['definition'],
): { definition: PipelineDefinition } | { issues: FieldIssue[] } {
  const parsed = pipelineDefinition.safeParse(given);
  if (!parsed.success)
    return {
      issues: parsed.error.issues.map((issue) => ({
        path: [...path, ...issue.path.map(String)],
        message: issue.message,
      })),
    };
  const issues = parsed.data.stages
    .flatMap((stage, index) =>
      checkStage(parsed.data, stage, known).map((issue) => ({
        ...issue,
        path: ['stages', String(index), ...issue.path],
      })),
    )
    .map((issue) => ({ ...issue, path: [...path, ...issue.path] }));
  const problem = parsed.data.input && schemaProblem(parsed.data.input.schema);
  if (problem) issues.push({ path: [...path, 'input', 'schema'], message: problem });
  return issues.length > 0 ? { issues } : { definition: parsed.data };
}

function checkStage(definition: PipelineDefinition, stage: StageDefinition, known: Known): FieldIssue[] {
  const { stages } = definition;
  const index = stages.indexOf(stage);
  const before = stages.slice(0, index);
  const issues: FieldIssue[] = [];
  const refuse = (condition: boolean, field: string, message: string) => {
    if (condition) issues.push({ path: [field], message });
  };
  refuse(
    before.some(({ key }) => key === stage.key),
    'key',
    `there is a stage "${stage.key}" already`,
  );
  issues.push(...checkReference(definition, stage, 'from', stage.from, stage.input));
  const source = sourceOf(definition, stage);
  const later = stages.slice(index + 1).find((each) => outputOf(each) === stage.input);
  const isFromOutside = inletOf(definition, stage) !== null;
  refuse(
    !source && !isFromOutside,
    'input',
    `nothing gives it items: another stage takes what comes of the kind ${stage.input}; say with \`from\` which stage gives them`,
  );
  refuse(
    !source && later !== undefined && before.length > 0,
    'input',
    `a cycle: ${stage.input} is made by "${later?.key}", which comes after it; put the stages in the order in which they work`,
  );
  if (stage.kind === 'TASKS') {
    const type = known.taskType(stage.taskType);
    refuse(!type, 'taskType', `no task type ${quoted(stage.taskType)} is installed`);
    if (type) issues.push(...checkTask(type, stage));
    if (stage.sendBack) {
      const missing = checkReference(definition, stage, 'sendBack', stage.sendBack.to);
      const problem = missing.length === 0 ? lineProblem(definition, stage, stage.sendBack.to) : undefined;
      issues.push(...missing);
      refuse(problem !== undefined, 'sendBack', problem ?? '');
      refuse(
        !isGate(stage),
        'output',
        'a stage that can send back lets items pass as they are: its output must be its input',
      );
    }
    issues.push(...checkNames(definition, stage, 'task', stage.task));
    issues.push(...checkNames(definition, stage, 'data', stage.data, stage.each ? resultNames : ['result']));
    if (stage.retrieve) issues.push(...checkNames(definition, stage, 'retrieve', stage.retrieve.query));
  }
  if (stage.kind === 'REVIEW') {
    const problem = stage.form && schemaProblem(stage.form);
    refuse(problem !== undefined, 'form', problem ?? '');
  }
  if (stage.kind === 'TRANSFORM') {
    const transform = known.transform(stage.transform);
    refuse(!transform, 'transform', `no transform ${quoted(stage.transform)} is installed`);
    if (transform?.parameters)
      issues.push(...openSchema(transform.parameters, { isTrusted: true })(stage.parameters, ['parameters']));
  }
  if (stage.kind === 'RETRIEVE') issues.push(...checkNames(definition, stage, 'query', stage.query));
  return issues;
}

/** What no item can mend: a field that the task type does not have, one that it must have, a value that never fits. */
function checkTask(type: TaskType, { task, agent }: TasksStage): FieldIssue[] {
  const shape: Record<string, z.ZodType> = type.input.shape;
  const fields = Object.keys(shape);
  const given = Object.entries(task).flatMap(([field, value]) => {
    const path = ['task', field];
    const schema = Object.hasOwn(shape, field) ? shape[field] : undefined;
    if (!schema) return [{ path, message: `${type.name} has no such input${meant(field, fields)}` }];
    if (templateNames(value).length > 0) return [];
    const issues = schema.safeParse(value).error?.issues ?? [];
    return issues.map((issue) => ({ path: [...path, ...issue.path.map(String)], message: issue.message }));
  });
  // An agent may bring it.
  const missing = fields.filter((field) => !agent && !(field in task) && !shape[field]!.safeParse(undefined).success);
  return [
    ...given,
    ...missing.map((field) => ({ path: ['task', field], message: `${type.name} needs it, here or of an \`agent\`` })),
  ];
}

/** Why what a stage sends back could not be done again without doing more: between the two stands one item for one. */
function lineProblem(definition: PipelineDefinition, judge: StageDefinition, to: string): string | undefined {
  for (
    let stage = judge, source = sourceOf(definition, judge);
    ;
    stage = source, source = sourceOf(definition, source)
  ) {
    if (!source) return `"${judge.key}" does not take what comes of "${to}"`;
    const beside = nextOf(definition, source).find((key) => key !== stage.key);
    if (beside) return `what "${source.key}" gives also goes to "${beside}", which would have it again each time`;
    if ('each' in source && source.each !== undefined)
      return `"${source.key}" makes several of one (each): all would be made again for one that is sent back`;
    if (source.kind === 'TRANSFORM' && !isGate(source))
      return `"${source.key}" is a TRANSFORM that may make several of one: all would be made again for one that is sent back`;
    if (source.key === to) return undefined;
  }
}

function checkReference(
  { stages }: PipelineDefinition,
  stage: StageDefinition,
  field: string,
  key: string | undefined,
  kindOfIt?: string,
): FieldIssue[] {
  if (key === undefined) return [];
  const refuse = (message: string) => [{ path: [field], message }];
  const found = stages.find((each) => each.key === key);
  if (!found)
    return refuse(
      `no stage ${quoted(key)}${meant(
        key,
        stages.map((each) => each.key),
      )}`,
    );
  if (stages.indexOf(found) >= stages.indexOf(stage))
    return refuse(`a cycle: "${key}" does not come before "${stage.key}"; a stage takes items of earlier ones`);
  if (kindOfIt && outputOf(found) !== kindOfIt)
    return refuse(`"${key}" gives ${outputOf(found)}, and this stage takes ${kindOfIt}`);
  return [];
}

/** A template can say what an item is, or what it was made from: its own kind, and those of the stages before. */
function checkNames(
  definition: PipelineDefinition,
  stage: StageDefinition,
  field: string,
  templates: unknown,
  more: string[] = [],
): FieldIssue[] {
  const kinds = new Set([stage.input]);
  for (let source = sourceOf(definition, stage); source; source = sourceOf(definition, source)) kinds.add(source.input);
  const known = [...kinds, ...scopeNames, ...more];
  if (isUnclosed(templates)) return [{ path: [field], message: 'a placeholder is not closed: {{name}}' }];
  return templateNames(templates)
    .filter((each) => !known.includes(each))
    .map((each) => ({
      path: [field],
      message: `{{${each}}} is unknown here${meant(each, known)}; there is ${known.join(', ')}`,
    }));
}

function meant(given: string, known: string[]): string {
  const nearest = known.map((each) => ({ each, far: distance(given, each) })).sort((a, b) => a.far - b.far)[0];
  return nearest && nearest.far <= 3 ? `; did you mean ${nearest.each}?` : '';
}
