import { createServer } from 'node:http';
import { createSchema, createYoga } from 'graphql-yoga';

/** The yardstick for HTTP: Yoga with a mutation that does nothing, answering in the shape of a createTask. */
const yoga = createYoga({
  logging: false,
  schema: createSchema({
    typeDefs:
      'type Query { a: Int } type Mutation { createTask(input: Input!): Result! } input Input { prompt: String! } type Result { id: ID!, status: String! }',
    resolvers: { Mutation: { createTask: () => ({ id: 'task_1', status: 'QUEUED' }) } },
  }),
});
createServer(yoga).listen(Number(process.env.PORT), '127.0.0.1');
