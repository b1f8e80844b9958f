import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A vendor that answers at once, as to a look at a job. It tells its port to the process that started it, and ends with it. */
const answer = JSON.stringify({ id: 'job', status: 'processing', logs: 'x'.repeat(500) });
const server = createServer((incoming, response) =>
  incoming.resume().on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(answer)),
);
server.listen(0, '127.0.0.1', () => process.send!((server.address() as AddressInfo).port));
process.on('disconnect', () => process.exit());
