import type { IncomingMessage, ServerResponse } from 'node:http';
import { EnvelopArmorPlugin } from '@escape.tech/graphql-armor';
import { GraphQLError, type GraphQLSchema, getOperationAST, OperationTypeNode } from 'graphql';
import { createYoga, type Plugin } from 'graphql-yoga';
import { authenticate, type Caller } from '../access.ts';
import type { Streams } from '../streams.ts';
import { createContext, type GraphContext, type GraphServices } from './context.ts';
import { hasCode, isOutage, publicError } from './error.ts';

export const maxBodyBytes = 2_000_000;

interface ServerContext {
  req: IncomingMessage;
  res: ServerResponse;
  /** Set once the request is authenticated. */
  caller?: Caller;
}

export type GraphYoga = ReturnType<typeof createGraphYoga>;

/** GraphQL over HTTP and SSE on /graphql, and the pipeline that WebSockets go through too. */
export function createGraphYoga(schema: GraphQLSchema, services: GraphServices, streams: Streams) {
  const { config, log } = services.core;
  const origins = config.ATELIER_CORS_ORIGINS;
  return createYoga<ServerContext, GraphContext>({
    schema,
    context: ({ caller }) => createContext(services, caller!),
    graphqlEndpoint: '/graphql',
    batching: false,
    multipart: false,
    landingPage: false,
    maxRequestBodySize: maxBodyBytes,
    logging: false,
    maskedErrors: { maskError: (error) => publicError(sayLimit(error), log) },
    cors:
      origins.length === 0
        ? false
        : {
            origin: origins.includes('*') ? '*' : origins,
            methods: ['GET', 'POST', 'OPTIONS'],
            allowedHeaders: ['authorization', 'content-type', 'accept'],
            credentials: false,
            maxAge: 86_400,
          },
    graphiql: config.ATELIER_GRAPHIQL
      ? {
          title: 'Atelier',
          defaultQuery,
          headers: '{\n  "Authorization": "Bearer <your API key>"\n}',
          subscriptionsProtocol: 'GRAPHQL_SSE',
        }
      : false,
    // The page with its scripts inside works without the Internet too; megabytes, so loaded when it is asked for.
    renderGraphiQL: async (options) => (await import('@graphql-yoga/render-graphiql')).renderGraphiQL(options),
    plugins: [
      useCaller(services),
      useContentType(),
      useStreams(streams),
      useDurations(services),
      useCodes(services),
      EnvelopArmorPlugin({
        maxAliases: { n: 15, allowList: [] },
        maxDirectives: { n: 5 },
        maxTokens: { n: 1_000 },
        maxDepth: { n: 8, flattenFragments: true },
        // A page of 100 tasks with everything that a list shows costs about 20,000.
        costLimit: { maxCost: 25_000, flattenFragments: true },
        // Whoever gets so far may introspect: a suggestion gives nothing away.
        blockFieldSuggestion: { enabled: false },
      }) as Plugin,
    ],
  });
}

/** Who asks, before anything of the request is read: without a good key every answer is 401. */
function useCaller({ core }: GraphServices): Plugin<object, ServerContext> {
  return {
    async onRequestParse({ request, serverContext, endResponse, fetchAPI }) {
      const refuse = (status: number, code: string, message: string, headers: Record<string, string>) => {
        const body = JSON.stringify({ errors: [{ message, extensions: { code } }] });
        endResponse(
          new fetchAPI.Response(body, {
            status,
            headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
          }),
        );
      };
      try {
        const caller = await authenticate(core, request.headers.get('authorization'));
        if (caller) serverContext.caller = caller;
        else
          refuse(
            401,
            'UNAUTHENTICATED',
            'Send `Authorization: Bearer <API key or client token>`; this one is missing, malformed, revoked or expired.',
            { 'www-authenticate': 'Bearer' },
          );
      } catch (error) {
        const code = isOutage(error) ? 'UNAVAILABLE' : 'INTERNAL';
        core.log.error({ err: error }, 'a caller could not be authenticated');
        refuse(code === 'UNAVAILABLE' ? 503 : 500, code, 'A part of the server does not answer; try again.', {
          'retry-after': '1',
        });
      }
    },
  };
}

/** Says what to send instead, where Yoga answers 415 with nothing. */
function useContentType(): Plugin {
  return {
    onRequestParse({ request, requestParser, endResponse, fetchAPI }) {
      if (requestParser || request.method !== 'POST') return;
      const errors = [{ message: 'send application/json', extensions: { code: 'BAD_REQUEST' } }];
      endResponse(fetchAPI.Response.json({ errors }, { status: 415 }));
    },
  };
}

/** Yoga refuses a body that is too large without saying what is not. */
function sayLimit(error: unknown): unknown {
  if (!(error instanceof GraphQLError) || error.extensions.code !== 'REQUEST_ENTITY_TOO_LARGE') return error;
  return new GraphQLError(`a request body may have at most ${maxBodyBytes.toLocaleString('en-US')} bytes`, {
    extensions: { http: error.extensions.http, code: 'BAD_REQUEST' },
  });
}

/** Event streams pass proxies unbuffered, and can be ended from here. */
function useStreams(streams: Streams): Plugin<object, ServerContext> {
  return {
    onResponse({ request, response, serverContext }) {
      if (!response.headers.get('content-type')?.startsWith('text/event-stream')) return;
      response.headers.set('x-accel-buffering', 'no');
      const { res } = serverContext;
      if (res.destroyed) return;
      // Cut without `complete`: the client connects again, to another process, or is told that its key is not good any more.
      const left = streams.add({
        transport: 'sse',
        authorization: request.headers.get('authorization') ?? '',
        end: () => res.destroy(),
      });
      res.once('close', left);
    },
  };
}

/** What validation refuses does not pass the masking of errors, and has codes of its own. */
function useCodes({ core }: GraphServices): Plugin {
  return {
    onExecutionResult({ result, setResult }) {
      const errors = result && !Array.isArray(result) && 'errors' in result ? result.errors : undefined;
      if (!errors || errors.every(hasCode)) return;
      setResult({ ...result, errors: errors.map((error) => (hasCode(error) ? error : publicError(error, core.log))) });
    },
  };
}

function useDurations({ metrics }: GraphServices): Plugin {
  return {
    onExecute({ args }) {
      const operation = getOperationAST(args.document, args.operationName)?.operation ?? OperationTypeNode.QUERY;
      const end = metrics.graphqlSeconds.startTimer({ operation });
      return {
        onExecuteDone({ result }) {
          end({ outcome: 'errors' in (result as object) ? 'errors' : 'ok' });
        },
      };
    },
  };
}

const defaultQuery = `# Put your API key into the Headers tab below: { "Authorization": "Bearer atl_…" }
mutation FirstTask {
  createTask(input: { task: { generateImage: { prompt: "a lighthouse at dawn", width: 512, height: 512 } } }) {
    __typename
    ... on CreateTaskSuccess {
      task {
        ... on BaseTask {
          id
          status
        }
      }
    }
    ... on UserError {
      code
      message
    }
  }
}

subscription Watch($id: ID!) {
  taskEvents(id: $id) {
    __typename
    seq
    ... on TaskProgressed {
      progress
      step
    }
    ... on TaskStatusChanged {
      status
    }
  }
}
`;
