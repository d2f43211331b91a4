// The arrows between the packages: what each may import of its siblings. Everything else is an error.
const packages = {
  protocol: [],
  scheduler: [],
  memory: ['audit', 'protocol'],
  governance: ['protocol'],
  models: ['protocol'],
  tools: ['protocol'],
  codex: ['tools', 'protocol'],
  audit: ['protocol'],
  redaction: ['protocol'],
  stack: ['protocol'],
  // One file, which shares nothing with what it checks.
  verify: [],
  journal: ['audit', 'protocol'],
  sdk: ['tools', 'protocol'],
  'bedrock-agents': ['models', 'sdk', 'protocol'],
  runtime: ['journal', 'memory', 'governance', 'audit', 'redaction', 'models', 'tools', 'sdk', 'scheduler', 'protocol'],
}

/** Tests, and what only tests use. */
const tests = '(\\.test|-suite)\\.ts$|/(test-[^/]+|fixture)\\.ts$'

// Tests may also import `stack`, which gives them a Redis and a DynamoDB.
const arrows = Object.entries(packages).flatMap(([name, allowed]) => [
  {
    name: `arrows-${name}`,
    comment: `packages/${name} may import ${allowed.join(', ') || 'no sibling'}.`,
    severity: 'error',
    from: { path: `^packages/${name}/`, pathNot: tests },
    to: { path: '^packages/', pathNot: `^packages/(${[name, ...allowed].join('|')})/` },
  },
  {
    name: `arrows-${name}-tests`,
    comment: `Tests of packages/${name} may import ${[...allowed, 'stack'].join(', ')}.`,
    severity: 'error',
    from: { path: `^packages/${name}/.*(${tests})` },
    to: { path: '^packages/', pathNot: `^packages/(${[name, ...allowed, 'stack'].join('|')})/` },
  },
])

/** @type {import('dependency-cruiser').IConfiguration} */
module.exports = {
  forbidden: [
    ...arrows,
    {
      name: 'package-without-arrows',
      comment: 'A new package must be given its arrows above.',
      severity: 'error',
      from: { path: '^packages/', pathNot: `^packages/(${Object.keys(packages).join('|')})/` },
      to: {},
    },
    {
      name: 'apps-are-on-top',
      comment: 'No package imports an app.',
      severity: 'error',
      from: { path: '^packages/' },
      to: { path: '^(apps|tests|docs)/' },
    },
    {
      name: 'door',
      comment: 'Another package is entered by its index.ts, an app by what its package.json exports.',
      severity: 'error',
      from: { path: '^((?:packages|apps)/[^/]+|tests|docs)/' },
      to: {
        path: '^(packages|apps)/[^/]+/',
        pathNot: [
          '^$1/',
          '^(packages|apps)/[^/]+/src/index\\.ts$',
          '^packages/verify/muster-verify\\.mjs$',
          '^packages/stack/src/(bedrock-server|prompt-cache|sigv4)\\.ts$',
          // What they say does not load the engine.
          '^packages/runtime/src/(keys|ledger/s3)\\.ts$',
          // Nor the clients of all vendors.
          '^packages/models/src/bedrock-error\\.ts$',
          '^apps/worker/src/settings\\.ts$',
          '^apps/cli/src/main\\.ts$',
          '^apps/demo/src/agents\\.ts$',
        ],
      },
    },
    {
      name: 'by-name',
      comment: 'Another package is imported by its name (@muster/...), never by a path.',
      severity: 'error',
      from: { path: '^((?:packages|apps)/[^/]+|tests|docs)/' },
      to: { path: '^(packages|apps|tests|docs)/', pathNot: '^$1/', dependencyTypes: ['local'] },
    },
    {
      name: 'no-cycle',
      comment: 'Files do not import each other in a circle. Types may: they are gone at run time.',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-test-in-code',
      comment: 'What ships does not import tests or what only tests use.',
      severity: 'error',
      from: { path: '^(packages|apps)/', pathNot: tests },
      to: { path: tests },
    },
    {
      name: 'resolvable',
      comment: 'Every import names something that its package has or depends on.',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    // Imports of types count as arrows too.
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)docs/\\.snippets/' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.d.ts', '.js', '.json'],
    },
  },
}
