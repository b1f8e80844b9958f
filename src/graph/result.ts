import type { ObjectRef } from '@pothos/core';
import type { Scope } from '../access.ts';
import { Refusal, type RefusalFacts } from '../errors.ts';
import type { Builder } from './builder.ts';
import { type GraphContext, requireScope } from './context.ts';
import { unavailable } from './error.ts';

/** A refusal as a value of a result union. GraphQL would throw a returned Error. */
export interface Refused {
  refusal: Refusal;
}

type ErrorRefs = Record<keyof RefusalFacts, ObjectRef<any, Refused>>;

/** The members of result unions that say what went wrong; each is a kind of {@link Refusal}. */
export function addUserErrors(builder: Builder): ErrorRefs {
  const UserError = builder.interfaceRef<Refused>('UserError').implement({
    description: 'An expected failure, and what to do about it.',
    fields: (t) => ({
      message: t.string({
        description: 'For people: what is allowed, what to do.',
        resolve: ({ refusal }) => refusal.message,
      }),
      code: t.string({ description: 'For programs: stable, UPPER_SNAKE.', resolve: ({ refusal }) => refusal.code }),
    }),
  });
  const FieldIssue = builder.objectRef<{ path: string[]; message: string }>('FieldIssue').implement({
    description: 'What is wrong with one field.',
    fields: (t) => ({
      path: t.exposeStringList('path', {
        description: 'From the root of the mutation\'s input, as ["task", "generateImage", "width"].',
      }),
      message: t.exposeString('message', { description: 'What is allowed.' }),
    }),
  });
  const error = <Kind extends keyof RefusalFacts>(
    kind: Kind,
    description: string,
    fields?: (t: any, facts: (refused: Refused) => RefusalFacts[Kind]) => Record<string, any>,
  ) =>
    builder.objectRef<Refused>(kind).implement({
      description,
      interfaces: [UserError],
      fields: fields && ((t) => fields(t, ({ refusal }) => refusal.facts as RefusalFacts[Kind])),
    });
  return {
    ValidationError: error('ValidationError', 'The input does not fit. Nothing was written.', (t, facts) => ({
      issues: t.field({
        type: [FieldIssue],
        description: 'What is wrong, field by field.',
        resolve: (refused: Refused) => facts(refused).issues,
      }),
    })),
    InsufficientCreditsError: error(
      'InsufficientCreditsError',
      'The account has fewer credits available than the quote.',
      (t, facts) => ({
        required: t.field({
          type: 'Credits',
          description: 'The quote.',
          resolve: (refused: Refused) => facts(refused).required,
        }),
        available: t.field({
          type: 'Credits',
          description: 'What the account could spend.',
          resolve: (refused: Refused) => facts(refused).available,
        }),
      }),
    ),
    IdempotencyMismatchError: error(
      'IdempotencyMismatchError',
      'The key was used before, with another input.',
      (t, facts) => ({
        existingId: t.id({
          description: 'What the key made then.',
          resolve: (refused: Refused) => facts(refused).existingId,
        }),
      }),
    ),
    RunAlreadyActiveError: error(
      'RunAlreadyActiveError',
      'A run of this pipeline is live in the project.',
      (t, facts) => ({
        runId: t.id({ description: 'The live one.', resolve: (refused: Refused) => facts(refused).runId }),
      }),
    ),
    ProviderUnavailableError: error('ProviderUnavailableError', 'No provider can take this now.', (t, facts) => ({
      provider: t.string({
        nullable: true,
        description: 'The one that was asked for, or comes first; null when there is none.',
        resolve: (refused: Refused) => facts(refused).provider,
      }),
      retryAfterMs: t.int({
        nullable: true,
        description: 'When to try again, in milliseconds; null: not known.',
        resolve: (refused: Refused) => facts(refused).retryAfterMs,
      }),
    })),
    NotFoundError: error(
      'NotFoundError',
      'There is no such thing, or not for this caller: a missing id, one of another type and one of another account answer alike.',
    ),
    LimitExceededError: error('LimitExceededError', 'A limit was reached.', (t, facts) => ({
      limit: t.field({
        type: 'SafeInt',
        description: 'The limit.',
        resolve: (refused: Refused) => facts(refused).limit,
      }),
      retryAfterMs: t.int({
        nullable: true,
        description: 'When to try again, in milliseconds; null: waiting does not help.',
        resolve: (refused: Refused) => facts(refused).retryAfterMs,
      }),
    })),
    ConflictError: error('ConflictError', 'The thing is in a state that does not allow this.'),
    ForbiddenError: error('ForbiddenError', 'The key or token may not do this.', (t, facts) => ({
      requiredScope: t.string({
        description: 'The scope that it would take.',
        resolve: (refused: Refused) => facts(refused).requiredScope,
      }),
    })),
    UnavailableError: error(
      'UnavailableError',
      'Unexpected. Code UNAVAILABLE: try the same again; INTERNAL: trying again will hardly help, it has been logged.',
      (t, facts) => ({
        retryAfterMs: t.int({
          description: 'When to try again, in milliseconds.',
          resolve: (refused: Refused) => facts(refused).retryAfterMs,
        }),
      }),
    ),
  };
}

/**
 * A result union: one success and the refusals that its field knows.
 * @returns `ref`, the union; `answer`, which runs a resolver's work and turns whatever it throws into a member.
 */
export function resultUnion<Success extends object>(
  { builder, errors }: { builder: Builder; errors: ErrorRefs },
  name: string,
  success: ObjectRef<any, Success>,
  kinds: (keyof RefusalFacts)[],
) {
  const known: (keyof RefusalFacts)[] = [...kinds, 'ForbiddenError', 'UnavailableError'];
  const ref = builder.unionType(name, {
    description: `${success.name}, or one of the expected failures.`,
    types: [success, ...known.map((kind) => errors[kind])],
    resolveType: (value) => ('refusal' in value ? errors[(value as Refused).refusal.kind] : success),
  });

  /** Needs one of the scopes; never throws. */
  async function answer(
    context: GraphContext,
    scopes: [Scope, ...Scope[]],
    work: () => Promise<Success>,
  ): Promise<Success | Refused> {
    try {
      requireScope(context, ...scopes);
      return await work();
    } catch (error) {
      const expected = error instanceof Refusal && known.includes(error.kind);
      return { refusal: expected ? error : unavailable(error, context.core.log) };
    }
  }
  return { ref, answer };
}
