/**
 * An image is one copy of a volume's bytes: a raw, thin file in a FlexVol's folder on an aggregate. Its UUID is
 * its identity (never its path or address), differs from the volume's, and is also the file's name.
 */
export interface ImageRef {
  imageId: string
  /** The aggregate's name on its node. */
  aggregate: string
  /** The FlexVol's name; a folder in the aggregate's folder. */
  flexvol: string
}

/** How a holder opens an image. */
export type ImageAccess = FileAccess | NbdAccess

/** The image is on the holder's own machine. */
export interface FileAccess {
  kind: 'file'
  imageId: string
  path: string
  /** Bytes. */
  sizeBytes: number
}

/** The image is served by a storage node's export daemon: NBD over TLS. */
export interface NbdAccess {
  kind: 'nbd'
  imageId: string
  host: string
  port: number
  /** Unguessable, and carries the attachment's id. */
  exportName: string
  /** Bytes. */
  sizeBytes: number
  /** The name in the server's certificate. TLS with client certificates is always on. */
  tlsHostname: string
}

export interface ImageInfo {
  imageId: string
  /** Bytes that a client sees. */
  sizeBytes: number
  /** Bytes that the file system has given it. */
  allocatedBytes: number
  /** Nobody may write to it: a retained source. */
  readOnly: boolean
  /**
   * Differs after every write and every change of permission, and says nothing else: of a file its inode and its
   * times of change in nanoseconds. Two equal ones prove that the image was not written to between them, while
   * nobody had it open for writing when the first was taken.
   */
  changeMark: string
}
