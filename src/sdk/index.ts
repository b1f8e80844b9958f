/** `atelier/adapter`: what the author of an adapter or a task type imports. It imports nothing of Atelier's. */
export { z } from 'zod';
export * from './adapter.ts';
export * from './context.ts';
export * from './failure.ts';
export * from './http.ts';
export * from './mapping/mapped-model.ts';
export * from './mapping/named-model.ts';
export { type InputSource, inputSource } from './mapping/source.ts';
export * from './pipeline.ts';
export * from './prompt-template.ts';
export * from './refuse.ts';
export * from './task-type.ts';
