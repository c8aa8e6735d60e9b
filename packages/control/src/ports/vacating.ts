/** The operations that empty aggregates now, by `CLUSTER/NAME`. Nothing new is placed on those. */
export type Vacating = () => Promise<ReadonlyMap<string, string>>
