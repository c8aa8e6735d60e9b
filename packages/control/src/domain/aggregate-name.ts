import type { AggregatePlace } from './volume.ts'

/** Names of aggregates are unique in their cluster: `CLUSTER/NAME` means one of all. */
export const aggregateId = (cluster: string, name: string): string => `${cluster}/${name}`

/** The key that an operation on the aggregate itself holds. */
export const aggregateKey = (cluster: string, name: string): string =>
  `aggregate/${aggregateId(cluster, name)}`

/** As people are shown where something is. */
export const placeText = ({ node, aggregate }: AggregatePlace): string => `${aggregate}@${node}`
