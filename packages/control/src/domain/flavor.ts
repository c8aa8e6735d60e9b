export interface Flavor {
  id: string
  name: string
  description: string | null
  vcpus: number
  memoryMib: number
  /** Of the root disk; 0: as large as the image. */
  diskGib: number
  ephemeralGib: number
  swapMib: number
  rxtxFactor: number
  isPublic: boolean
  disabled: boolean
  extraSpecs: Record<string, string>
  createdAt: string
}

/** What a server keeps of its flavor, whatever becomes of the flavor itself. */
export type FlavorSnapshot = Pick<
  Flavor,
  'name' | 'vcpus' | 'memoryMib' | 'diskGib' | 'ephemeralGib' | 'swapMib' | 'extraSpecs'
>

export const snapshotOf = (flavor: Flavor): FlavorSnapshot => ({
  name: flavor.name,
  vcpus: flavor.vcpus,
  memoryMib: flavor.memoryMib,
  diskGib: flavor.diskGib,
  ephemeralGib: flavor.ephemeralGib,
  swapMib: flavor.swapMib,
  extraSpecs: flavor.extraSpecs,
})
