import type { GuestStatus, HypervisorFacts } from '@volant/contract'

/** What is known of a compute host from the last time its agent was asked. */
export interface HostView {
  host: string
  /** Its agent answered the last time. */
  answers: boolean
  /** Undefined: it never answered. */
  facts: HypervisorFacts | undefined
  guests: ReadonlyMap<string, GuestStatus>
  /** When it last answered, or when watching began. */
  seenAt: Date
}

export interface HostViews {
  list(): HostView[]
  find(host: string): HostView | undefined
}
