// The arrows between the rooms of the house: data flows one way, and this file holds it.
const leaves =
  '^src/(config|errors|db|redact|redis|log|id|bus|outbound|timer|project-path)\\.ts$|^src/(outbound|storage|generated)/';
const own = '^(src|adapters)/';

/** What a room may reach besides itself and the leaves; everything else of ours is refused. */
const rooms = [
  { from: '^src/sdk/', to: [], leaves: false },
  { from: '^adapters/([^/]+)/', to: ['^src/sdk/', '^adapters/$1/'], leaves: false },
  { from: '^src/task-types/', to: ['^src/sdk/'] },
  { from: '^src/plugins(\\.ts|/)', to: ['^src/sdk/', '^src/plugins/', '^src/task-types/'] },
  {
    from: '^src/registry\\.ts$',
    to: ['^src/sdk/', '^src/task-types/', '^src/plugins\\.ts$', '^adapters/[^/]+/adapter\\.ts$'],
  },
  { from: '^src/vendor\\.ts$', to: ['^src/sdk/', '^src/registry\\.ts$'] },
  { from: '^src/models\\.ts$', to: ['^src/registry\\.ts$', '^src/vendor\\.ts$'] },
  { from: '^src/core\\.ts$', to: ['^src/sdk/', '^src/(registry|vendor)\\.ts$'] },
  { from: '^src/lifecycle/', to: ['^src/core\\.ts$', '^src/registry\\.ts$', '^src/task-types/', '^src/sdk/'] },
  { from: '^src/(access|key|known-keys)\\.ts$', to: ['^src/core\\.ts$', '^src/(access|key|known-keys)\\.ts$'] },
  {
    from: '^src/(health|metrics|probes|streams)\\.ts$',
    to: ['^src/(core|access|health|metrics|probes|streams)\\.ts$', '^src/lifecycle/'],
  },
  { from: '^src/webhooks/', to: ['^src/core\\.ts$', '^src/registry\\.ts$', '^src/lifecycle/', '^src/sdk/'] },
  {
    from: '^src/pipelines/',
    to: ['^src/core\\.ts$', '^src/registry\\.ts$', '^src/lifecycle/', '^src/knowledge/', '^src/sdk/'],
  },
  {
    from: '^src/knowledge/',
    to: ['^src/core\\.ts$', '^src/registry\\.ts$', '^src/lifecycle/', '^src/sdk/'],
  },
  {
    from: '^src/graph/',
    to: [
      '^src/pipelines/',
      '^src/(core|access|health|metrics|streams|registry)\\.ts$',
      '^src/lifecycle/',
      '^src/knowledge/',
      '^src/webhooks/',
      '^src/task-types/',
      '^src/sdk/',
    ],
  },
  {
    from: '^src/server\\.ts$',
    to: [
      '^src/(core|access|health|metrics|models|probes|streams)\\.ts$',
      '^src/graph/',
      '^src/webhooks/',
      '^src/lifecycle/',
      '^src/pipelines/',
      '^src/server/',
    ],
  },
  {
    from: '^src/worker\\.ts$',
    to: [
      '^src/(core|registry|health|metrics|models|probes)\\.ts$',
      '^src/lifecycle/',
      '^src/knowledge/',
      '^src/pipelines/',
      '^src/webhooks/',
      '^src/task-types/',
    ],
  },
  { from: '^src/embedded/', to: [] },
];

module.exports = {
  forbidden: [
    {
      name: 'no-circles',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'graph-is-for-the-server',
      severity: 'error',
      from: { path: own, pathNot: '^src/(graph/|server\\.ts)' },
      to: { path: '^src/graph/', pathNot: '^src/graph/print' },
    },
    {
      name: 'one-file-knows-bee-queue',
      severity: 'error',
      from: { path: own, pathNot: '^src/lifecycle/queue\\.ts$' },
      to: { path: 'node_modules/bee-queue' },
    },
    ...rooms.map((room) => ({
      name: `arrows-of ${room.from}`,
      severity: 'error',
      from: { path: room.from, pathNot: '\\.test\\.ts$' },
      to: {
        path: own,
        pathNot: [room.from.replace('([^/]+)', '$1'), ...room.to, ...(room.leaves === false ? [] : [leaves])],
      },
    })),
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.mjs', '.json'] },
  },
};
