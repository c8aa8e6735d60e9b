import { retryable, operation } from '@volant/saga'
import { shareMessageEvents } from '../domain/share-message.ts'
import type { ShareAccessRule, ShareAccessState } from '../domain/share.ts'
import type { ShareAccessRecords, ShareRecords } from '../ports/shares.ts'
import { callerOf } from './caller.ts'
import { throughRestart } from './patience.ts'
import { clearShareFailure, noteShareFailure, type ShareFailureNotes } from './share-failure.ts'
import { ensureShareExport, type ShareServicePorts } from './share-service.ts'

export interface ApplyShareAccessInput {
  /** Rules of it are queued. */
  shareId: string
}

export interface ApplyShareAccessPorts extends ShareServicePorts, ShareFailureNotes {
  shares: Pick<ShareRecords, 'find' | 'get' | 'update'>
  accessRules: ShareAccessRecords
}

const passing: readonly ShareAccessState[] = ['queued_to_apply', 'applying', 'queued_to_deny', 'denying']

/**
 * Brings the access rules to the share's export. It looks again until none is queued; what is queued after its last look is
 * found by `reconcile/shares.ts`.
 */
export const applyShareAccess = operation<ApplyShareAccessInput, ApplyShareAccessPorts>('share.access', {
  version: 1,
})
  .holds(({ shareId }) => [`share/${shareId}`])

  .step('claimRules', {
    do: async ({ input, ports }) => {
      await ports.shares.update(input.shareId, { accessRulesStatus: 'syncing' })
      return null
    },
    // Nobody knows which of them are in effect: none is counted as such from now on.
    undo: async ({ input, ports }) => {
      for (const rule of await passingRules(ports, input.shareId)) {
        await ports.accessRules.update(rule.id, { state: 'error' })
      }
      await noteOutcome(ports, input.shareId)
    },
  })

  .commit('apply', {
    do: async ({ op, input, ports, now }) => {
      const share = await ports.shares.get(input.shareId)
      const about = { shareId: share.id, projectId: share.projectId, requestId: null }
      await noteShareFailure(ports, op, about, shareMessageEvents.accessFailed, now(), () =>
        ports.serving.take(share.id, () => applyAll(ports, op, share.id)),
      )
      return null
    },
    happened: async ({ input, ports }) => (await passingRules(ports, input.shareId)).length === 0,
    ...throughRestart,
  })

  .step('record', {
    do: async ({ op, input, ports }) => {
      await noteOutcome(ports, input.shareId)
      await clearShareFailure(ports, op)
      return null
    },
  })

async function passingRules(
  { accessRules }: ApplyShareAccessPorts,
  shareId: string,
): Promise<ShareAccessRule[]> {
  return (await accessRules.ofShare(shareId)).filter(({ state }) => passing.includes(state))
}

/** Rounds in which something new was queued; whoever asks for that many changes at once waits for the next operation. */
const mostRounds = 100

async function applyAll(
  ports: ApplyShareAccessPorts,
  op: { id: string; fence: number },
  shareId: string,
): Promise<void> {
  for (let round = 0; round < mostRounds; round++) {
    const rules = await passingRules(ports, shareId)
    if (rules.length === 0) return
    const denied = rules.filter(({ state }) => state === 'queued_to_deny' || state === 'denying')
    const admitted = rules.filter((rule) => !denied.includes(rule))
    for (const { id } of denied) await ports.accessRules.update(id, { state: 'denying' })
    // Its denial, or another level, may be asked for at any moment: what is not as it was seen is looked at again.
    for (const { id, state } of admitted) {
      await ports.accessRules.updateIf(id, { state: [state] }, { state: 'applying' })
    }
    await ensureShareExport(ports, callerOf(op), shareId)
    for (const { id } of denied) await ports.accessRules.remove(id)
    for (const { id, accessLevel } of admitted) {
      await ports.accessRules.updateIf(id, { state: ['applying'], accessLevel }, { state: 'active' })
    }
  }
  throw retryable('Rules are queued faster than they can be brought to the export.')
}

async function noteOutcome(ports: ApplyShareAccessPorts, shareId: string): Promise<void> {
  const rules = await ports.accessRules.ofShare(shareId)
  const wrong = rules.some(({ state }) => state === 'error')
  const queued = rules.some(({ state }) => passing.includes(state))
  await ports.shares.update(shareId, {
    accessRulesStatus: wrong ? 'error' : queued ? 'syncing' : 'active',
  })
}
