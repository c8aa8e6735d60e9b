import type { Volume } from '@volant/client'
import { formatBytes, formatMilliseconds, formatRate, type ProbeVerification } from '@volant/cli'
import type { Operation } from '@volant/contract/ndo/operation.ts'

export interface Facts {
  operation: Operation
  before: Volume
  after: Volume
  target: string
  /** Writes that the guest had acknowledged when the move began, and when it had ended. */
  acknowledged: { atStart: number; atEnd: number }
  verification: ProbeVerification
}

export interface Finding {
  what: string
  value: string
  ok: boolean
}

const number = new Intl.NumberFormat('en')
const count = (value: number): string => number.format(value)

/** Everything that must hold, each with what was found. */
export function evidence(facts: Facts): Finding[] {
  const { operation, before, after, acknowledged, verification } = facts
  const { progress, client_pause_ms: pause } = operation
  const moved = progress.done_bytes ?? 0
  const host = after['os-vol-host-attr:host'] ?? 'None'
  const migstat = after['os-vol-mig-status-attr:migstat'] ?? 'None'
  const during = acknowledged.atEnd - acknowledged.atStart
  const { lost, torn, corrupt, misplaced } = verification
  return [
    {
      what: 'the volume is now in',
      value: host,
      ok: host === facts.target && verification.host === facts.target,
    },
    {
      what: 'migration status, status',
      value: `${migstat}, ${after.status}`,
      ok: migstat === 'success' && after.status === 'in-use',
    },
    {
      what: 'same volume, same disk in the guest',
      value: after.id,
      ok: after.id === before.id && verification.sessions === 1,
    },
    { what: 'bytes moved', value: formatBytes(moved), ok: moved > 0 },
    {
      what: 'rate',
      value: formatRate(progress.rate_bytes_per_second ?? 0),
      ok: (progress.rate_bytes_per_second ?? 0) > 0,
    },
    {
      what: 'client pause at the cutover',
      value: pause === null ? 'not measured' : formatMilliseconds(pause),
      ok: pause !== null,
    },
    {
      what: 'longest request of the guest, whole run',
      value: formatMilliseconds(verification.maxLatencyMs),
      ok: true,
    },
    { what: 'writes acknowledged since the move began', value: count(during), ok: during > 0 },
    {
      what: 'writes acknowledged in all',
      value: count(verification.acknowledgedWrites),
      ok: verification.acknowledgedWrites >= acknowledged.atEnd,
    },
    {
      what: 'I/O errors in the guest',
      value: count(verification.errorsSeenByGuest),
      ok: verification.errorsSeenByGuest === 0,
    },
    {
      what: 'wrong reads in the guest',
      value: count(verification.badReads),
      ok: verification.badReads === 0,
    },
    {
      what: 'every acknowledged write verified on the target',
      value: `${count(verification.blocksChecked)} blocks read: ${lost} lost, ${torn} torn, ${corrupt} corrupt, ${misplaced} misplaced`,
      ok: verification.ok && verification.blocksChecked > 0 && !verification.live,
    },
  ]
}

export function evidenceText(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map((finding) => finding.what.length))
  return findings
    .map(({ what, value, ok }) => `  ${ok ? 'ok  ' : 'FAIL'}  ${what.padEnd(width)}  ${value}`)
    .join('\n')
}
