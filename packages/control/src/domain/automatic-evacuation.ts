/**
 * Which compute hosts are given up without anybody's word. Off unless the configuration has groups of hosts for it. Pure.
 *
 * A host is given up only where nobody can reach it: the control plane had no answer for the group's time, and so many
 * other hosts say that they can't reach it either. Where most hosts are silent, it is the control plane that is cut off, and
 * nothing is done. At most so many of a group are given up at a time.
 */
/** Without an answer, where the group names no time. */
export const defaultSilenceSeconds = 120

export interface EvacuationGroup {
  name: string
  hosts: readonly string[]
  /** Seconds without an answer. */
  afterSeconds: number
  /** How many other hosts must say that they can't reach it either. */
  witnesses: number
  /** How many of the group may be given up at a time. */
  atOnce: number
}

export interface SeenHost {
  host: string
  answers: boolean
  /** Since when, where it does not answer. */
  seenAt: Date
  /** It is forced down, or its evacuation is under way: it was given up already. */
  isGivenUp: boolean
}

export interface Suspect {
  host: string
  group: EvacuationGroup
  /** Seconds. */
  silentFor: number
  /** Hosts that answer, and can be asked. */
  witnesses: string[]
}

/** Hosts that may be given up if their witnesses agree, longest silent first; `because`: why nobody is, where somebody would be. */
export function suspects(
  groups: readonly EvacuationGroup[],
  hosts: readonly SeenHost[],
  now: Date,
): { suspects: Suspect[]; because: string | null } {
  const silent = hosts.filter(({ answers }) => !answers)
  if (silent.length === 0) return { suspects: [], because: null }
  if (silent.length * 2 >= hosts.length) {
    const because = `${silent.length} of ${hosts.length} compute hosts are silent: the control plane may be cut off itself`
    return { suspects: [], because }
  }
  const answering = hosts.filter(({ answers }) => answers).map(({ host }) => host)
  const found: Suspect[] = []
  let because: string | null = null
  for (const group of groups) {
    const members = hosts.filter(({ host }) => group.hosts.includes(host))
    let room = group.atOnce - members.filter(({ isGivenUp }) => isGivenUp).length
    const due = members
      .filter(({ answers, isGivenUp }) => !answers && !isGivenUp)
      .map((one) => ({ ...one, silentFor: Math.floor((now.getTime() - one.seenAt.getTime()) / 1000) }))
      .filter(({ silentFor }) => silentFor >= group.afterSeconds)
      .toSorted((a, b) => b.silentFor - a.silentFor)
    for (const { host, silentFor } of due) {
      if (answering.length < group.witnesses) {
        because = `${host} is silent, but only ${answering.length} of the ${group.witnesses} witnesses that are needed answer`
      } else if (room <= 0) {
        because = `${host} is silent, but ${group.atOnce} of group ${group.name} may be given up at a time`
      } else {
        room -= 1
        found.push({ host, group, silentFor, witnesses: answering })
      }
    }
  }
  return { suspects: found, because }
}

/** What a witness says of a suspect: `unreachable` with its reason, or null: it reaches it, or could not be asked. */
export interface Testimony {
  witness: string
  unreachable: string | null
}

/** The reason for which the suspect is given up; null: it is not, for too few agree. One that reaches it is enough against it. */
export function verdict(
  { host, silentFor, group }: Suspect,
  testimonies: readonly (Testimony & { reaches: boolean })[],
): string | null {
  if (testimonies.some(({ reaches }) => reaches)) return null
  const agreeing = testimonies.filter(({ unreachable }) => unreachable !== null).map(({ witness }) => witness)
  if (agreeing.length < group.witnesses) return null
  const also = agreeing.length === 0 ? '' : `; ${agreeing.toSorted().join(', ')} can't reach it either`
  return `${host} was silent for ${silentFor} s${also}`
}
