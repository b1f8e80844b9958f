import SchemaBuilder from '@pothos/core';
import PrismaPlugin from '@pothos/plugin-prisma';
import type { Account, AgentProfile, Asset, Item, LedgerEntry, Prisma, Project, Run } from '../db.ts';
import type PrismaTypes from '../generated/pothos.ts';
import { getDatamodel } from '../generated/pothos.ts';
import type { TaskError } from '../lifecycle/status.ts';
import type { PipelineVersion } from '../pipelines/catalog.ts';
import type { GraphContext } from './context.ts';
import { addScalars } from './scalars.ts';

interface Types {
  Context: GraphContext;
  PrismaTypes: PrismaTypes;
  DefaultFieldNullability: false;
  /** Types that others name before they exist. */
  Objects: {
    Account: Account;
    AgentProfile: AgentProfile;
    Asset: Asset;
    Item: Item;
    LedgerEntry: LedgerEntry;
    Pipeline: PipelineVersion;
    PipelineRun: Run;
    Project: Project;
    TaskError: TaskError;
  };
  Scalars: {
    ID: { Input: string; Output: string };
    DateTime: { Input: Date; Output: Date };
    JSON: { Input: unknown; Output: unknown };
    URL: { Input: string; Output: string };
    Credits: { Input: number; Output: number | bigint };
    SafeInt: { Input: number; Output: number | bigint };
    Decimal: { Input: string; Output: string | Prisma.Decimal };
  };
}

export type Builder = ReturnType<typeof create>;
/** The builder's own view of its types, for the few signatures that take any of them. */
export type BuilderTypes = Builder['$inferSchemaTypes'];

/** A schema with nothing in it but scalars and the three roots. Fields are non-null unless they say otherwise. */
export function createBuilder(): Builder {
  const builder = create();
  addScalars(builder);
  builder.queryType({ description: 'Everything that can be read.' });
  builder.mutationType({
    description: 'Everything that can be changed. Expected failures are members of the result unions.',
  });
  builder.subscriptionType({
    description: 'What can be watched, over SSE or WebSocket. Streams resume where they were cut.',
  });
  return builder;
}

function create() {
  return new SchemaBuilder<Types>({
    plugins: [PrismaPlugin],
    defaultFieldNullability: false,
    prisma: { client: (context) => context.core.db.prisma, dmmf: getDatamodel() },
  });
}
