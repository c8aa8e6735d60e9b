import { globSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/**
 * Who may import whom. The first rule whose `from` a file's path begins with counts. `may` lists the beginnings
 * of paths (of ours) and the names of packages that it may import; `node:` modules are free unless `pure`.
 */
interface Rule {
  from: string
  may: readonly string[]
  /** What `import type` may name besides. */
  mayType?: readonly string[]
  /** No I/O: no `node:` modules but these. */
  pure?: readonly string[]
  because: string
}

const contract = 'packages/contract/src/'
const rules: readonly Rule[] = [
  { from: contract, may: [contract, 'typebox'], because: 'the contract is what all others agree on' },
  {
    from: 'packages/saga/src/',
    may: ['packages/saga/src/', `${contract}errors.ts`, `${contract}index.ts`],
    because: 'the engine knows nothing of volumes, HTTP or SQL',
  },
  { from: 'packages/qemu/src/', may: ['packages/qemu/src/', contract], because: 'QEMU knows no agents' },
  {
    from: 'packages/agent/src/',
    may: ['packages/agent/src/', 'packages/qemu/src/', contract],
    because: 'agents serve the control plane and do not know it',
  },
  {
    from: 'packages/control/src/domain/',
    may: ['packages/control/src/domain/', contract, 'packages/saga/src/'],
    pure: ['node:net', 'node:path', 'node:util', 'node:crypto'],
    because: 'the domain is pure rules',
  },
  {
    from: 'packages/control/src/ports/',
    may: ['packages/control/src/domain/', 'packages/control/src/ports/', contract, 'packages/saga/src/'],
    because: 'ports are interfaces',
  },
  {
    from: 'packages/control/src/db/',
    may: [
      'packages/control/src/db/',
      'packages/control/src/domain/',
      'packages/control/src/ports/',
      'packages/saga/src/',
      contract,
      'kysely',
      'pg',
    ],
    because: 'the database serves ports and knows no application',
  },
  {
    from: 'packages/control/src/operations/',
    may: [
      'packages/control/src/operations/',
      'packages/control/src/domain/',
      'packages/control/src/ports/',
      'packages/saga/src/',
      contract,
    ],
    because: 'operations reach the world through narrow ports',
  },
  ...['identity', 'image'].map((area) => ({
    from: `packages/control/src/app/${area}/index.ts`,
    may: ['packages/control/src/', contract, 'kysely', 'pino'],
    because: 'an area composes its own parts, and nothing else',
  })),
  {
    from: 'packages/control/src/app/',
    may: [
      'packages/control/src/app/',
      'packages/control/src/db/repositories/',
      'packages/control/src/operations/',
      'packages/control/src/domain/',
      'packages/control/src/ports/',
      'packages/saga/src/',
      contract,
    ],
    mayType: ['packages/control/src/db/schema.ts', 'kysely', 'pino'],
    because: 'the application knows neither HTTP nor SQL',
  },
  {
    from: 'packages/control/src/http/',
    may: [
      'packages/control/src/http/',
      'packages/control/src/app/',
      'packages/control/src/domain/',
      'packages/control/src/ports/',
      contract,
      'fastify',
      'typebox',
      'pino',
    ],
    mayType: ['packages/control/src/db/repositories/'],
    because: 'HTTP parses, calls the application and shows',
  },
  {
    from: 'packages/control/src/config/',
    may: ['packages/control/src/config/', 'packages/control/src/domain/', contract, 'typebox', 'yaml'],
    because: 'the configuration becomes a topology, no more',
  },
  {
    from: 'packages/control/src/',
    may: [
      'packages/control/src/',
      'packages/agent/src/',
      'packages/qemu/src/',
      'packages/saga/src/',
      contract,
      'kysely',
      'fastify',
      'pino',
      'typebox',
      'yaml',
      'probe/build.ts',
      'package.json',
    ],
    because: 'only the composition root knows everything',
  },
  {
    from: 'packages/client/src/',
    may: ['packages/client/src/', contract],
    because: 'the client knows the wire only',
  },
  {
    from: 'packages/cli/src/',
    may: [
      'packages/cli/src/',
      'packages/client/src/',
      contract,
      'packages/control/src/main.ts',
      'packages/control/src/stop-all.ts',
      'packages/control/src/node.ts',
      'packages/control/src/node-credentials.ts',
      'packages/control/src/agent-process.ts',
      'packages/control/src/config/',
      'probe/verify.ts',
      'commander',
      'pino',
      'yaml',
    ],
    because: 'the command line speaks to Volant as any other client does',
  },
]

const composesAll = 'packages/control/src/main.ts'
/** What a test may use besides what its file may. */
const testsMay = [
  'node:',
  'fast-check',
  'packages/',
  'probe/',
  'typebox',
  'kysely',
  'fastify',
  'pino',
  'yaml',
]

const importPattern =
  /(?:^|\n)\s*(?:import|export)\s[^'"`;]*?from\s*['"]([^'"]+)['"]|(?:^|\n)\s*import\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/g

export interface Import {
  module: string
  line: number
  typeOnly: boolean
}

/** Every module that the source names, with its line. */
export function importsOf(source: string): Import[] {
  return [...source.matchAll(importPattern)].map((match) => {
    const module = match[1] ?? match[2] ?? match[3] ?? ''
    const at = (match.index ?? 0) + match[0].lastIndexOf(module)
    const typeOnly = /^\s*(import|export)\s+type\b/.test(match[0])
    return { module, line: source.slice(0, at).split('\n').length, typeOnly }
  })
}

/** `./x.ts` and `@volant/qemu/x.ts` as a path from the root; other modules as the package's name. */
function targetOf(file: string, module: string): string {
  if (module.startsWith('.')) return relative('.', join(dirname(file), module))
  const own = /^@volant\/([^/]+)(?:\/(.*))?$/.exec(module)
  if (own !== null) return `packages/${own[1]}/src/${own[2] ?? 'index.ts'}`
  if (module.startsWith('node:')) return module
  return module
    .split('/')
    .slice(0, module.startsWith('@') ? 2 : 1)
    .join('/')
}

const isTest = (file: string): boolean => /(\.test\.ts|\/testing\.ts)$|\/testing\//.test(file)

/** The reason why `file` may not import `module`; undefined where it may. */
export function violation(file: string, module: string, typeOnly = false): string | undefined {
  const target = targetOf(file, module)
  const rule = rules.find((candidate) => file.startsWith(candidate.from))
  if (rule === undefined) return undefined
  if (isTest(file) && testsMay.some((start) => target.startsWith(start))) return undefined
  if (target === composesAll && !file.startsWith('packages/cli/src/')) {
    return `${target} constructs everything and is imported by nobody`
  }
  if (target.startsWith('node:')) {
    const free = rule.pure === undefined || rule.pure.includes(target)
    return free ? undefined : `${rule.from} may not import ${target}: ${rule.because}`
  }
  const may = typeOnly ? [...rule.may, ...(rule.mayType ?? [])] : rule.may
  const allowed = may.some((start) => target === start || (start.includes('/') && target.startsWith(start)))
  return allowed ? undefined : `${rule.from} may not import ${target}: ${rule.because}`
}

/** SQL is written in the database's folder, and HTTP statuses in HTTP's. */
function contentViolations(file: string, source: string): string[] {
  if (isTest(file)) return []
  const found: string[] = []
  const outsideDb = file.startsWith('packages/control/src/') && !file.startsWith('packages/control/src/db/')
  if (outsideDb && /\.(selectFrom|insertInto|updateTable|deleteFrom)\(/.test(source)) {
    found.push('only packages/control/src/db/ writes queries')
  }
  return found
}

/** All imports that the layers forbid, as `file:line: reason`. */
export function checkLayers(root: string): string[] {
  return globSync('packages/*/src/**/*.ts', { cwd: root })
    .sort()
    .flatMap((file) => {
      const source = readFileSync(join(root, file), 'utf8')
      const imports = importsOf(source).flatMap(({ module, line, typeOnly }) => {
        const reason = violation(file, module, typeOnly)
        return reason === undefined ? [] : [`${file}:${line}: ${reason}`]
      })
      return [...imports, ...contentViolations(file, source).map((reason) => `${file}: ${reason}`)]
    })
}
