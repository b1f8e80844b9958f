import { scriptedAdapter } from '../scripted-adapter.ts';

/** A provider that answers at once, loaded as a plugin. */
export const noOp = scriptedAdapter().adapter;
