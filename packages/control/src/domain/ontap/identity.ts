import { createHash } from 'node:crypto'

/**
 * The UUID of something that the configuration names: the same at every start, different in every cluster
 * (a name-based UUID, version 5 of RFC 9562).
 */
export function uuidOf(
  cluster: string,
  kind: 'cluster' | 'node' | 'aggregate' | 'svm' | 'lif',
  name: string,
): string {
  const bytes = createHash('sha1').update(`volant/${cluster}/${kind}/${name}`).digest().subarray(0, 16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x50
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  const hex = bytes.toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

/** A cluster has one storage virtual machine, which owns its FlexVols and LIFs. */
export const svmName = (cluster: string): string => `svm_${cluster}`
