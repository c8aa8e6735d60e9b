/** A row that was removed on purpose: of `copies`, `attachments` or `shares`. Kept as long as the history of operations. */
export interface TombstoneTable {
  kind: 'copy' | 'attachment' | 'share'
  /** The image's, the attachment's or the share's. */
  id: string
  /** Empty, of a share: its volume went before it. */
  volume_id: string
  /** Of an attachment. */
  server_id: string | null
  /** What it was in when it was removed: the copy's state, the attachment's or share's status. */
  state: string
  /** Of a copy: the operation that made it or left it. */
  operation_id: string | null
  removed_at: string
}

export interface SweepTables {
  tombstones: TombstoneTable
}
