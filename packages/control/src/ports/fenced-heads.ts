/** A volume head whose host was given up: it gets no access any more, until its host has answered again. */
export interface FencedHead {
  headId: string
  volumeId: string
  /** Null: of an attachment without a server. */
  serverId: string | null
  /** The compute host that it was on. */
  host: string
  /** ISO 8601. */
  fencedAt: string
}

export interface FencedHeadRecords {
  /** Durable when it resolves: from then on no storage driver opens anything for the head. Repeated, the time is the newer. */
  add(head: FencedHead): Promise<void>
  isFenced(headId: string): Promise<boolean>
  /** Heads that the server's attachments had before, on other hosts. */
  formerHeadsOf(serverId: string): Promise<{ headId: string; volumeId: string }[]>
  ofHost(host: string): Promise<FencedHead[]>
  /** Only the fence of that time: one that was made again since stays. Tells whether it is gone. */
  remove(head: Pick<FencedHead, 'headId' | 'fencedAt'>): Promise<boolean>
}
