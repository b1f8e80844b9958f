/** `atelier/adapter` as TypeScript sees it: what runs is `sdk/index.ts` alone, and to it come the types of the built-in task types, in `TaskTypes`. */
export * from '../sdk/index.ts';
// Named, since a bare import for its declarations would be dropped from what is published.
export type { BuiltInTaskTypes } from '../task-types/index.ts';
