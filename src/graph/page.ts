import type { TypeParam } from '@pothos/core';
import { type IdKind, parseId, toId } from '../id.ts';
import type { Builder, BuilderTypes } from './builder.ts';
import { badRequest } from './error.ts';
import type { Graph } from './graph.ts';

/** Rows of one page with what lies around them. */
export interface Page<Row> {
  rows: Row[];
  hasNextPage: boolean;
  hasPreviousPage: boolean;
}

/** How the cursors of a list are made of its rows: opaque to clients, and valid when the row is gone. */
export interface Keyset<Row> {
  write(row: Row): string;
  /** What the list goes on behind; null for what `write` never writes. */
  read(text: string): string | null;
}

interface PageRow {
  id: string;
}

const maxFirst = 100;

/** By the id of the row, of the list's own kind. */
const byId = (kind: IdKind): Keyset<PageRow> => ({
  write: ({ id }) => toId(kind, id),
  read(text) {
    const id = parseId(text);
    return id?.kind === kind && toId(kind, id.uuid) === text ? id.uuid : null;
  },
});

/** By a row's number, of a list whose rows have no id. */
export const bySeq: Keyset<{ seq: number }> = {
  write: ({ seq }) => `seq:${seq}`,
  read: (text) => /^seq:([1-9]\d{0,8})$/.exec(text)?.[1] ?? null,
};

type By<Row> = IdKind | Keyset<Row>;

const keysetOf = (by: By<any>): Keyset<any> => (typeof by === 'string' ? byId(by) : by);
const cursorOf = <Row>(by: By<Row>, row: Row): string => Buffer.from(keysetOf(by).write(row)).toString('base64url');

/**
 * Reads `first` and `after`.
 * @param by the kind of the list's rows, whose ids are then its order; or what else its order is.
 * @returns `take`, one more than the page, and the UUID (or what else it is ordered by) behind which it begins.
 * @throws GraphQLError BAD_REQUEST for a `first` outside 1..100 and for a cursor that is none of this list.
 */
export function readPage(
  by: By<any>,
  args: { first?: number | null; after?: string | null },
  defaultFirst: number,
): { take: number; after: string | null } {
  const first = args.first ?? defaultFirst;
  if (first < 1 || first > maxFirst) throw badRequest(`first must be from 1 to ${maxFirst}`);
  if (args.after == null) return { take: first + 1, after: null };
  const text = Buffer.from(args.after, 'base64url').toString();
  const after = keysetOf(by).read(text);
  if (after === null || Buffer.from(text).toString('base64url') !== args.after)
    throw badRequest('after must be a cursor of this list, as pageInfo.endCursor gives it');
  return { take: first + 1, after };
}

/** Cuts what was read for a page to the page. */
export function toPage<Row>(rows: Row[], { take, after }: { take: number; after: string | null }): Page<Row> {
  return { rows: rows.slice(0, take - 1), hasNextPage: rows.length === take, hasPreviousPage: after !== null };
}

/** `first` and `after` of a list. */
export const pageArgs = (builder: Builder, defaultFirst: number) =>
  builder.args((t) => ({
    first: t.int({ defaultValue: defaultFirst, description: `How many, 1 to ${maxFirst}.` }),
    after: t.string({ description: 'Begin behind this cursor. Default: at the beginning.' }),
  }));

/** PageInfo, which all connections share. */
export function addPageInfo(builder: Builder) {
  return builder.objectRef<{ by: By<any>; page: Page<unknown> }>('PageInfo').implement({
    description: 'Where a page stands in its list.',
    fields: (t) => ({
      hasNextPage: t.boolean({ description: 'True when more follow.', resolve: ({ page }) => page.hasNextPage }),
      hasPreviousPage: t.boolean({
        description: 'True when the page began behind a cursor.',
        resolve: ({ page }) => page.hasPreviousPage,
      }),
      startCursor: t.string({
        nullable: true,
        description: 'The cursor of the first; null when the page is empty.',
        resolve: ({ by, page }) => edge(by, page.rows[0]),
      }),
      endCursor: t.string({
        nullable: true,
        description: 'The cursor of the last: give it as `after` for the next page.',
        resolve: ({ by, page }) => edge(by, page.rows.at(-1)),
      }),
    }),
  });
}

const edge = (by: By<any>, row: unknown): string | null => (row === undefined ? null : cursorOf(by, row));

/** `<name>Connection` and `<name>Edge` over a node type, by keyset: a page costs the same wherever it stands. */
export function connection<Row extends object, Extra extends object = object>(
  graph: Pick<Graph, 'builder' | 'PageInfo'>,
  name: string,
  by: By<Row>,
  node: TypeParam<BuilderTypes>,
  description: string,
) {
  const Edge = graph.builder.objectRef<Row>(`${name}Edge`).implement({
    description: 'One of a page, with its cursor.',
    fields: (t) => ({
      cursor: t.string({
        description: 'Give it as `after` to begin behind this one.',
        resolve: (row) => cursorOf(by, row),
      }),
      node: t.field({ type: node, description: 'The thing itself.', resolve: (row) => row as never }),
    }),
  });
  return graph.builder.objectRef<Page<Row> & Extra>(`${name}Connection`).implement({
    description,
    fields: (t) => ({
      edges: t.field({ type: [Edge], description: 'The page, each with its cursor.', resolve: (page) => page.rows }),
      nodes: t.field({
        type: [node] as never,
        description: 'The page.',
        resolve: (page: Page<Row>) => page.rows as never,
      }),
      pageInfo: t.field({
        type: graph.PageInfo,
        description: 'Where the page stands in its list.',
        resolve: (page) => ({ by, page }),
      }),
    }),
  });
}
