/** On which machine nodes and hosts are: what decides between a file and an export. */
export interface Places {
  machineOfNode(node: string): string
  machineOfHost(host: string): string
}
