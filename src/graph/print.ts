import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { printSchema } from 'graphql';
import { projectPath } from '../project-path.ts';
import { builtInTaskTypes } from '../task-types/index.ts';
import { buildSchema } from './schema.ts';

/** The text of schema.graphql: the public face with the built-in task types. */
export function schemaText(): string {
  const types = new Map(builtInTaskTypes.map((type) => [type.name, type]));
  const registry = {
    taskTypes: builtInTaskTypes,
    taskType: (name: string) => types.get(name),
    adapters: [],
    adapter: () => undefined,
    origin: () => undefined,
    longestRunMs: () => 0,
    pipelines: [],
    transforms: [],
  };
  return `${printSchema(buildSchema(registry))}\n`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeFileSync(projectPath('schema.graphql'), schemaText());
}
