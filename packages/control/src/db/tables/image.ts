/** Times are UTC in ISO 8601 with milliseconds and `Z`; JSON columns hold text; booleans are 0 or 1. */
export interface ImageTable {
  id: string
  name: string | null
  /** The owning project. */
  owner: string | null
  /** queued, saving, active, deactivated, killed. */
  status: string
  /** public, private, shared, community. */
  visibility: string
  protected: number
  os_hidden: number
  /** raw, qcow2, aki, ari, ami; null until set. */
  disk_format: string | null
  /** bare, aki, ari, ami; null until set. */
  container_format: string | null
  /** GiB. */
  min_disk: number
  /** MiB. */
  min_ram: number
  /** Bytes of the file; null until uploaded. */
  size: number | null
  /** Bytes that a guest sees. */
  virtual_size: number | null
  /** MD5 of the file. */
  checksum: string | null
  /** SHA-512 of the file. */
  os_hash_value: string | null
  /** JSON object of text. */
  properties: string
  /** JSON array of text. */
  tags: string
  /** Set for images that belong to the installation, such as the probe guest's kernel: unique. */
  builtin: string | null
  created_at: string
  updated_at: string
}

export interface ImageMemberTable {
  image_id: string
  /** A project's id. */
  member: string
  /** pending, accepted, rejected. */
  status: string
  created_at: string
  updated_at: string
}

export interface ImageTables {
  images: ImageTable
  image_members: ImageMemberTable
}
