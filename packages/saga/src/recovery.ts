/** Which runs an engine takes over when it starts. Pure: rows in, decisions out. */
import type { RunRecord } from './types.ts'

/** What the code of this engine can carry out. */
export interface Known {
  kind: string
  version: number
  nodes: readonly { name: string }[]
}

export interface Refusal {
  runId: string
  kind: string
  version: number
  /** What is missing, and what would be right. */
  reason: string
}

/** What has to be known of an unfinished run to tell whether it can be carried on. */
export type Unfinished = Pick<RunRecord, 'id' | 'kind' | 'version' | 'steps'>

export interface RecoveryPlan {
  /** Ids of the runs to claim and carry on, oldest first. */
  adopt: string[]
  /** Runs that this code cannot carry on. If there is one, the engine must not start at all. */
  refuse: Refusal[]
}

export function planRecovery(
  rows: readonly Unfinished[],
  known: readonly Known[],
  running: ReadonlySet<string>,
): RecoveryPlan {
  const plan: RecoveryPlan = { adopt: [], refuse: [] }
  for (const row of rows) {
    if (running.has(row.id)) continue
    const reason = whyNot(row, known)
    if (reason === null) plan.adopt.push(row.id)
    else plan.refuse.push({ runId: row.id, kind: row.kind, version: row.version, reason })
  }
  return plan
}

function whyNot(row: Unfinished, known: readonly Known[]): string | null {
  const ofKind = known.filter((operation) => operation.kind === row.kind)
  const operation = ofKind.find((candidate) => candidate.version === row.version)
  if (operation) {
    const names = operation.nodes.map((node) => node.name)
    if (names.join() === row.steps.join()) return null
    return (
      `version ${row.version} of '${row.kind}' has the steps ${names.join(', ')} in this code, ` +
      `and had ${row.steps.join(', ')} when the run was started: a change of steps needs a new version`
    )
  }
  if (ofKind.length === 0) return `this code has no operation '${row.kind}'`
  const versions = ofKind.map((candidate) => candidate.version).join(', ')
  return `this code has '${row.kind}' in version ${versions}, and no version ${row.version}`
}

/** One message for all refusals, for whoever starts the control plane. */
export function refusalMessage(refusals: readonly Refusal[]): string {
  const lines = refusals.map(
    ({ runId, kind, version, reason }) => `  ${runId} (${kind} v${version}): ${reason}`,
  )
  return (
    `${refusals.length} unfinished operation(s) cannot be carried on by this code:\n${lines.join('\n')}\n` +
    'Start a version of the software that has them, and let them end there.'
  )
}
