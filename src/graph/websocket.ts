import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type ExecutionArgs, GraphQLError } from 'graphql';
import { CloseCode } from 'graphql-ws';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';
import { authenticate, type Caller } from '../access.ts';
import type { Streams } from '../streams.ts';
import type { GraphServices } from './context.ts';
import { publicError } from './error.ts';
import { type GraphYoga, maxBodyBytes } from './yoga.ts';

const maxSockets = 20_000;
const maxOperations = 100;
/** "Try again later" (RFC 6455 registry): clients connect again. */
const tryAgainLater = 1013;

type Extra = { caller?: Caller };

/** GraphQL over WebSocket (graphql-transport-ws). The key comes in connection_init, as browsers cannot set headers here. */
export function openWebSockets(yoga: GraphYoga, { core }: GraphServices, streams: Streams) {
  const server = new WebSocketServer({ noServer: true, maxPayload: maxBodyBytes });
  const dispose = useServer<{ authorization?: unknown }, Extra>(
    {
      connectionInitWaitTimeout: 5_000,
      async onConnect({ connectionParams, extra }) {
        const { authorization } = connectionParams ?? {};
        if (typeof authorization !== 'string') return false;
        try {
          extra.caller = (await authenticate(core, authorization)) ?? undefined;
        } catch (error) {
          core.log.error({ err: error }, 'a caller could not be authenticated');
          extra.socket.close(tryAgainLater, 'Try again later');
          return false;
        }
        if (!extra.caller || extra.socket.readyState !== extra.socket.OPEN) return false;
        const left = streams.add({
          transport: 'websocket',
          authorization,
          end: (reason) =>
            reason === 'shutdown'
              ? extra.socket.close(1001, 'Going away')
              : extra.socket.close(CloseCode.Forbidden, 'Forbidden'),
        });
        extra.socket.once('close', left);
        return true;
      },
      async onSubscribe({ extra, subscriptions }, _id, { query, operationName, variables }) {
        try {
          if (Object.keys(subscriptions).length > maxOperations) {
            throw new GraphQLError(`at most ${maxOperations} operations at once on one connection`, {
              extensions: { code: 'RATE_LIMITED' },
            });
          }
          const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
            caller: extra.caller,
            req: extra.request,
          });
          const document = parse(query);
          const errors = validate(schema, document) as GraphQLError[];
          if (errors.length > 0) return errors.map((error) => publicError(error, core.log));
          return {
            schema,
            document,
            operationName,
            variableValues: variables,
            contextValue: await contextFactory(),
            rootValue: { execute, subscribe },
          };
        } catch (error) {
          return [publicError(error, core.log)];
        }
      },
      execute: (args: ExecutionArgs) => (args.rootValue as Pipeline).execute(args),
      subscribe: (args: ExecutionArgs) => (args.rootValue as Pipeline).subscribe(args),
    },
    server,
  );
  return {
    upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
      if (server.clients.size >= maxSockets) {
        socket.end('HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\r\n');
        return;
      }
      server.handleUpgrade(request, socket, head, (webSocket) => {
        server.emit('connection', webSocket, request);
        // The library writes what a client does wrong (a frame too large) to the console; ws closes the socket by itself.
        webSocket.removeAllListeners('error');
        webSocket.on('error', (error) => core.log.debug({ err: error }, 'a WebSocket failed'));
      });
    },
    /** Closes with 1001 what is open; clients then connect again elsewhere. */
    close: () => dispose.dispose(),
  };
}

interface Pipeline {
  execute(args: ExecutionArgs): any;
  subscribe(args: ExecutionArgs): any;
}
