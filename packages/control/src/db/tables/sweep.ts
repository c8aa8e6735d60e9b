/** A row that was removed on purpose: of `copies` or `attachments`. Kept as long as the history of operations. */
export interface TombstoneTable {
  kind: 'copy' | 'attachment'
  /** The image's or the attachment's. */
  id: string
  volume_id: string
  /** Of an attachment. */
  server_id: string | null
  /** What it was in when it was removed: the copy's state, the attachment's status. */
  state: string
  /** Of a copy: the operation that made it or left it. */
  operation_id: string | null
  removed_at: string
}

export interface SweepTables {
  tombstones: TombstoneTable
}
