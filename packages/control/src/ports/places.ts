import type { Attachment } from '../domain/volume.ts'

/** On which machine nodes and hosts are: what decides between a file and an export. */
export interface Places {
  machineOfNode(node: string): string
  machineOfHost(host: string): string
  /** Where an attachment's head is: on the compute host, or on the storage node of a share's. Its host must be set. */
  machineOf(attachment: Pick<Attachment, 'host' | 'shareId'>): string
}
