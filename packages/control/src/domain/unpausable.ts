import { DomainError } from '@volant/contract'

/**
 * Kinds of operations that can't be paused: the end of a live migration is QEMU's to say, and a guest that stands still then
 * waits for nobody.
 */
const unpausable: readonly string[] = ['server.live-migrate']

export const isPausable = (kind: string): boolean => !unpausable.includes(kind)

/** Throws `conflict`, with what may be done instead. */
export function requirePausable({ id, kind }: { id: string; kind: string }): void {
  if (isPausable(kind)) return
  throw new DomainError(
    'conflict',
    `A live migration can't be paused. Slow it: volant operations rate ${id} 10M; or cancel it: volant operations cancel ${id}`,
  )
}
