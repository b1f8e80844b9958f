import { TypeID } from 'typeid-js';

/** What an id begins with, for each kind of thing that has one. */
const prefixes = {
  Account: 'acct',
  Project: 'proj',
  ApiKey: 'key',
  Task: 'task',
  Asset: 'asset',
  Upload: 'upload',
  LedgerEntry: 'ledger',
  WebhookDelivery: 'delivery',
  Worker: 'worker',
  Run: 'run',
  KnowledgeDocument: 'doc',
  Pipeline: 'pipe',
  PipelineConfiguration: 'config',
  Item: 'item',
  Review: 'review',
  AgentProfile: 'agent',
} as const;

export type IdKind = keyof typeof prefixes;

/** The one opaque string by which clients, webhooks, logs and URLs call a row: a TypeID, as `task_01h455vb4pex5vsknk084sn02q`. */
export function toId(kind: IdKind, uuid: string): string {
  return TypeID.fromUUID(prefixes[kind], uuid).toString();
}

/** The row's UUID, or null for an id of another kind and for garbage. */
export function fromId(kind: IdKind, id: string): string | null {
  const parsed = parseId(id);
  return parsed?.kind === kind ? parsed.uuid : null;
}

/** Kind and UUID of an id, or null for garbage. */
export function parseId(id: string): { kind: IdKind; uuid: string } | null {
  try {
    const typed = TypeID.fromString(id);
    const kind = (Object.keys(prefixes) as IdKind[]).find((key) => prefixes[key] === typed.getType());
    return kind ? { kind, uuid: typed.toUUID() } : null;
  } catch {
    return null;
  }
}
